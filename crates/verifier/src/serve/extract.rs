//! The peer as an argument of an axum handler.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::peer::VerifiedPeer;

/// A request came over a connection without a verified peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRequired;

impl<S: Sync> FromRequestParts<S> for VerifiedPeer {
    type Rejection = PeerRequired;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, PeerRequired> {
        parts.extensions.get::<Self>().cloned().ok_or(PeerRequired)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for VerifiedPeer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl IntoResponse for PeerRequired {
    fn into_response(self) -> Response {
        let body = concat!(
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"certificate_required","#,
            r#""detail":"connect with a certificate of this trust domain"}"#
        );
        (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

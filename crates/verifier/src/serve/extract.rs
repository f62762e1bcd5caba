//! The peer as an argument of an axum handler.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use crate::gate::Admitted;
use crate::peer::VerifiedPeer;
use crate::web::PeerRequired;

impl<S: Sync> FromRequestParts<S> for VerifiedPeer {
    type Rejection = PeerRequired;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, PeerRequired> {
        found(parts).ok_or(PeerRequired)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for VerifiedPeer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(found(parts))
    }
}

impl<S: Sync> FromRequestParts<S> for Admitted {
    type Rejection = PeerRequired;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, PeerRequired> {
        parts.extensions.get::<Self>().cloned().ok_or(PeerRequired)
    }
}

fn found(parts: &Parts) -> Option<VerifiedPeer> {
    let alone = parts.extensions.get::<VerifiedPeer>();
    alone.or_else(|| parts.extensions.get::<Admitted>().map(Admitted::peer)).cloned()
}

impl IntoResponse for PeerRequired {
    fn into_response(self) -> Response {
        self.answer()
    }
}

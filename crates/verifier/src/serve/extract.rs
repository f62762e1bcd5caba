//! The peer as an argument of an axum handler.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::gate::Admitted;
use crate::peer::VerifiedPeer;

/// A request came over a connection without a verified peer; answers `401`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRequired;

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
        let detail = "connect with a certificate of this trust domain";
        problem(StatusCode::UNAUTHORIZED, "certificate_required", detail)
    }
}

/// A problem document (RFC 9457). `code` and `detail` must hold nothing that JSON would escape.
pub(super) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    document(status, code, detail, "")
}

/// The same with a reference to the line in the service's log that says more.
pub(super) fn problem_with(status: StatusCode, code: &str, detail: &str, reference: &str) -> Response {
    document(status, code, detail, &format!(r#","reference":"{reference}""#))
}

fn document(status: StatusCode, code: &str, detail: &str, more: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let number = status.as_u16();
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{number},"code":"{code}","detail":"{detail}"{more}}}"#
    );
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

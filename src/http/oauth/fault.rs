//! The error table of the authorization server: every refusal, its status and its code (RFC 6749 §5.2, RFC 8707 §2).

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{http::problem::Failure, service::Ungranted};

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Fault {
    refused: Ungranted,
    challenge: bool,
}

impl From<Ungranted> for Fault {
    fn from(refused: Ungranted) -> Self {
        Self { refused, challenge: false }
    }
}

impl Fault {
    /// A refusal of a request with these headers: who tried a header is told which one would do (RFC 6749 §5.2). Others are
    /// not, since clients read a challenge in place of the reason.
    pub(super) fn of(refused: Ungranted, headers: &HeaderMap) -> Self {
        Self { refused, challenge: headers.contains_key(header::AUTHORIZATION) }
    }

    /// The code, for events and metrics.
    pub(super) fn code(&self) -> &'static str {
        table(&self.refused).1
    }
}

fn table(refused: &Ungranted) -> (StatusCode, &'static str) {
    match refused {
        Ungranted::Request(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
        Ungranted::Client(_) | Ungranted::Stale(_) => (StatusCode::UNAUTHORIZED, "invalid_client"),
        Ungranted::Unauthorized(_) => (StatusCode::BAD_REQUEST, "unauthorized_client"),
        Ungranted::Target(_) => (StatusCode::BAD_REQUEST, "invalid_target"),
        Ungranted::Scope(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
        Ungranted::GrantType(_) => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        Ungranted::TooOften { .. } => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
        Ungranted::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, code) = table(&self.refused);
        let retry_after = match &self.refused {
            Ungranted::TooOften { retry_after, .. } => Some(*retry_after),
            Ungranted::Failed(_) => Some(1),
            // As long as an assertion of now may be too old for a server that has just started.
            Ungranted::Stale(_) => Some(3),
            _ => None,
        };
        let description = match self.refused {
            // What went wrong inside is logged, and told as the other routes tell it.
            Ungranted::Failed(refused) => Failure::from(refused).detail().to_owned(),
            refused => refused.to_string(),
        };
        let body = json!({ "error": code, "error_description": printable(&description) });
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        never_stored(headers);
        if status == StatusCode::UNAUTHORIZED && self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"countersign\""));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// No cache keeps an answer that holds a token or speaks of one (RFC 6749 §5.1).
pub(super) fn never_stored(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

/// Only the characters that a description may have (RFC 6749 §5.2).
fn printable(text: &str) -> String {
    text.chars()
        .map(|one| match one {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => one,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_only_the_characters_it_may_have() {
        assert_eq!(printable("found \"ä\\\n\", expected x"), "found '?/?', expected x");
    }
}

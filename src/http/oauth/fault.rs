//! The error table of the authorization server: every refusal, its status and its code (RFC 6749 §5.2, RFC 8707 §2).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{http::problem::Failure, service::Ungranted};

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Fault(Ungranted);

impl From<Ungranted> for Fault {
    fn from(refused: Ungranted) -> Self {
        Self(refused)
    }
}

impl Fault {
    /// The code, for events and metrics.
    pub(super) fn code(&self) -> &'static str {
        table(&self.0).1
    }
}

fn table(refused: &Ungranted) -> (StatusCode, &'static str) {
    match refused {
        Ungranted::Request(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
        Ungranted::Client(_) => (StatusCode::UNAUTHORIZED, "invalid_client"),
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
        let (status, code) = table(&self.0);
        let retry_after = match &self.0 {
            Ungranted::TooOften { retry_after, .. } => Some(*retry_after),
            Ungranted::Failed(_) => Some(1),
            _ => None,
        };
        let description = match self.0 {
            // What went wrong inside is logged, and told as the other routes tell it.
            Ungranted::Failed(refused) => Failure::from(refused).detail().to_owned(),
            refused => refused.to_string(),
        };
        let body = json!({ "error": code, "error_description": printable(&description) });
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        never_stored(headers);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"countersign\""));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// No cache keeps an answer that holds a token or speaks of one (RFC 6749 §5.1).
pub(super) fn never_stored(headers: &mut axum::http::HeaderMap) {
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

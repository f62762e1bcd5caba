//! Refusals as problem documents (RFC 9457).

use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

/// What a refused request is answered. `code` and `detail` must hold nothing that JSON would escape.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    /// Leads to the line in the service's log that says more.
    pub(crate) reference: Option<String>,
    /// What `WWW-Authenticate` says.
    pub(crate) authenticate: Option<String>,
}

impl Problem {
    pub(crate) fn into_response<B: From<String>>(self) -> Response<B> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let (number, code, detail) = (self.status.as_u16(), self.code, self.detail);
        let more =
            self.reference.map(|reference| format!(r#","reference":"{reference}""#)).unwrap_or_default();
        let body = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{number},"code":"{code}","detail":"{detail}"{more}}}"#
        );
        let mut answer = Response::new(B::from(body));
        *answer.status_mut() = self.status;
        let kind = HeaderValue::from_static("application/problem+json");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(value) = self.authenticate.and_then(|text| HeaderValue::try_from(text).ok()) {
            answer.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        answer
    }
}

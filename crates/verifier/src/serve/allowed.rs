//! Callers and permissions as arguments of axum handlers.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use crate::caller::Caller;
use crate::typed::NamedPermission;
use crate::web::{self, Allowed, NotAllowed};

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = NotAllowed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotAllowed> {
        web::caller(&parts.extensions, None)
    }
}

impl<P: NamedPermission, S: Sync> FromRequestParts<S> for Allowed<P> {
    type Rejection = NotAllowed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotAllowed> {
        Self::of(&parts.extensions, parts.uri.path())
    }
}

impl IntoResponse for NotAllowed {
    fn into_response(self) -> Response {
        self.answer()
    }
}

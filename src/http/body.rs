//! A JSON body, read within the limits: size, time, shape (invariant 10).

use std::sync::Arc;

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::header::CONTENT_TYPE,
};
use countersign_api::ProblemCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{desk::drain, problem::Failure};
use crate::service::Ca;

/// A request body of type `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Ca>> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, ca: &Arc<Ca>) -> Result<Self, Failure> {
        let limits = ca.limits();
        read(request, limits.body_bytes, limits.request).await.map(Self)
    }
}

/// A body of an admin route, which may hold many registrations.
pub(super) struct LargeJsonBody<T>(pub(super) T);

/// 10,000 registrations with a few names each; the caller is an operator on this machine or proven by certificate.
const LARGE: usize = 32 * 1024 * 1024;

impl<T: DeserializeOwned> FromRequest<Arc<Ca>> for LargeJsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, ca: &Arc<Ca>) -> Result<Self, Failure> {
        read(request, LARGE, ca.limits().request).await.map(Self)
    }
}

async fn read<T: DeserializeOwned>(
    request: Request,
    limit: usize,
    patience: std::time::Duration,
) -> Result<T, Failure> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_json(kind) {
        let detail = format!("content-type {kind:?}: expected \"application/json\"");
        drain(request.into_body()).await;
        return Err(Failure::new(ProblemCode::ContentTypeUnsupported, detail));
    }
    let body = timeout(patience, to_bytes(request.into_body(), limit))
        .await
        .map_err(|_| Failure::new(ProblemCode::RequestTimeout, "the body did not arrive in time"))?
        .map_err(|error| too_large_or_cut(&error, limit))?;
    serde_json::from_slice(&body).map_err(|e| {
        Failure::new(ProblemCode::BodyMalformed, format_args!("the body is not what this route takes: {e}"))
    })
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn too_large_or_cut(error: &axum::Error, limit: usize) -> Failure {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = cause {
        if one.is::<http_body_util::LengthLimitError>() {
            return Failure::new(
                ProblemCode::BodyTooLarge,
                format_args!("the body is larger than {limit} octets"),
            );
        }
        cause = one.source();
    }
    Failure::new(ProblemCode::BodyMalformed, "the body broke off")
}

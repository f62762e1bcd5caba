//! What happens to every request at the desk: its source is counted, its time measured, its refusal counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{Method, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use countersign_api::{ProblemCode, paths};
use countersign_verifier::{Presented, Wire};
use tokio::time::timeout;

use super::{problem::Failure, visitor::Visitor};
use crate::service::Ca;

/// What is read of a refused request's body, so that an HTTP/2 client, whose stream would otherwise be reset, sees why it
/// was refused. More than this no honest request has.
const DRAINED: usize = 64 * 1024;
/// How long it may take.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// Reads a body nobody wants, within limits.
pub(super) async fn drain(body: Body) {
    // Whatever comes of it, the answer is a refusal.
    let _ = timeout(DRAIN_PATIENCE, to_bytes(body, DRAINED)).await;
}

/// No such route.
pub(super) async fn not_found(uri: Uri, request: Request) -> Failure {
    drain(request.into_body()).await;
    Failure::new(ProblemCode::NotFound, format_args!("there is no {}", uri.path()))
}

/// The route exists, the method does not.
pub(super) async fn method_not_allowed(method: Method, uri: Uri, request: Request) -> Failure {
    drain(request.into_body()).await;
    Failure::new(ProblemCode::MethodNotAllowed, format_args!("{} does not take {method}", uri.path()))
}

/// Past its rate a source waits; health answers on another listener.
pub(super) async fn admit_source(State(ca): State<Arc<Ca>>, request: Request, next: Next) -> Response {
    let source = request.extensions().get::<Wire>().map(|wire| wire.source.ip());
    let reads = is_read(&ca, &request);
    let admitted =
        source.map(|source| if reads { ca.rates().reader(source) } else { ca.rates().source(source) });
    match admitted {
        Some(Err(wait)) => {
            drain(request.into_body()).await;
            Failure::new(ProblemCode::RateLimited, "too many requests from this address")
                .retry_after(wait.as_secs() + 1)
                .into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whether a request asks for what services ask for again and again: trust, and, with a certificate, the keys of all their
/// callers. A stranger has nothing to introspect.
fn is_read(ca: &Ca, request: &Request) -> bool {
    let visitor = || request.extensions().get::<Visitor>().map(|visitor| visitor.presented(ca.now()));
    match request.uri().path() {
        paths::INTROSPECT => matches!(visitor(), Some(Presented::Verified(_))),
        path => path.starts_with(paths::TRUST),
    }
}

/// Marks an answer that was held back on purpose: how long it took says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited;

/// Latency by route, refusals by code.
pub(super) async fn measure(State(ca): State<Arc<Ca>>, request: Request, next: Next) -> Response {
    let route = label(request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str));
    let started = Instant::now();
    let response = next.run(request).await;
    if response.extensions().get::<Waited>().is_none() {
        ca.metrics().observe(route, started.elapsed());
    }
    if let Some(code) = response.extensions().get::<ProblemCode>() {
        ca.metrics().count_refused(code.as_str());
        tracing::debug!(route, code = code.as_str(), "refused");
    }
    response
}

/// A label is one of a fixed few, or a stranger could fill the memory with them.
fn label(path: &str) -> &'static str {
    match path {
        paths::ENROLL => "enroll",
        paths::RENEW => "renew",
        paths::BUNDLE => "bundle",
        paths::ROOTS => "roots",
        paths::TRUST => "trust",
        paths::TOKEN => "token",
        paths::RECOVER => "recover",
        paths::RENEWAL => "renewal",
        paths::WORKLOAD => "workload",
        paths::JWT_SVID => "jwt_svid",
        paths::INTROSPECT => "introspect",
        paths::TRUST_PART => "trust_part",
        other if other.starts_with("/v1/admin/") => "admin",
        _ => "other",
    }
}

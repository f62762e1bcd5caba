//! An accept loop for callers with certificates, tokens or API keys: each request is recognised before the router sees it.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::peer::VerifiedPeer;
use crate::server::ServerAcceptor;
use crate::token::{ResourceServer, Visitor};
use crate::web::Recognised;

/// The same as [`axum_serve_gated`](super::axum_serve_gated) for callers with certificates, access tokens or API keys: handlers take
/// [`Caller`](crate::Caller) or [`Allowed`](crate::Allowed) as an argument and need not know which it was.
///
/// Metadata (RFC 9728) are served where [`at`](crate::ResourceSettings::at) said so. Give the acceptor
/// [`certificate_optional`](crate::ServerSettings::certificate_optional) if callers without a certificate shall come in at all.
///
/// # Errors
/// As [`axum_serve`](super::axum_serve).
pub async fn axum_serve_resource(
    listener: TcpListener,
    acceptor: ServerAcceptor,
    resource: ResourceServer,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let router = with_metadata(router.layer(from_fn(recognise)), &resource);
    let context = move |peer: Option<VerifiedPeer>| Some(resource.visitor(peer));
    super::serve_admitted(listener, acceptor, context, router, shutdown).await
}

async fn recognise(request: Request, next: Next) -> Response {
    match request.extensions().get::<Visitor>().cloned() {
        Some(visitor) => next.run(Recognised::put(&visitor, request).await).await,
        None => next.run(request).await,
    }
}

fn with_metadata(router: Router, resource: &ResourceServer) -> Router {
    let Some((path, document)) = resource.metadata() else { return router };
    let document: Arc<str> = document.into();
    let answer = move || {
        let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "max-age=3600")];
        std::future::ready((head, document.to_string()).into_response())
    };
    router.route(path, get(answer))
}

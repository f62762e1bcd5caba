//! An accept loop for callers with certificates, tokens or API keys: each request is recognised before the router sees it.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use countersign_policy::Permission;
use tokio::net::TcpListener;

use super::allowed::NotAllowed;
use crate::caller::Caller;
use crate::peer::VerifiedPeer;
use crate::server::ServerAcceptor;
use crate::token::{ResourceServer, Unrecognised, Visitor};

/// The same as [`axum_serve_gated`](super::axum_serve_gated) for callers with certificates, access tokens or API keys: handlers take
/// [`Caller`] or [`Allowed`](crate::Allowed) as an argument and need not know which it was.
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

/// What a request was recognised as; in its extensions.
#[derive(Clone)]
pub(super) struct Recognised {
    resource: ResourceServer,
    verdict: Result<Caller, Unrecognised>,
}

async fn recognise(mut request: Request, next: Next) -> Response {
    if let Some(visitor) = request.extensions().get::<Visitor>().cloned() {
        let verdict = visitor.recognise(request.headers()).await;
        if let Some(peer) = verdict.as_ref().ok().and_then(Caller::peer).cloned() {
            request.extensions_mut().insert(peer);
        }
        let resource = visitor.resource().clone();
        request.extensions_mut().insert(Recognised { resource, verdict });
    }
    next.run(request).await
}

impl Recognised {
    /// Who it is, or the answer to whom nobody knows.
    pub(super) fn caller(&self) -> Result<Caller, NotAllowed> {
        let unknown = |reason: &Unrecognised| NotAllowed::Challenged(self.resource.challenge(reason));
        self.verdict.as_ref().map_err(unknown).cloned()
    }

    /// What a caller is told whose token carries too little.
    pub(super) fn insufficient(&self, permission: &Permission) -> String {
        self.resource.authenticate(Some("insufficient_scope"), Some(permission.as_str()))
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

//! What a request was recognised as, by certificate, token or API key.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use countersign_policy::Permission;
use hyper::Request;
use tower::{Layer, Service};

use super::allowed::NotAllowed;
use crate::caller::Caller;
use crate::token::{ResourceServer, Unrecognised, Visitor};

/// In the extensions of a request.
#[derive(Clone)]
pub(crate) struct Recognised {
    resource: ResourceServer,
    verdict: Result<Caller, Unrecognised>,
}

/// Recognises each request of a connection; made by [`Visitor::layer`].
#[derive(Clone, Debug)]
pub struct Recognise(Visitor);

/// A service whose requests are recognised before it sees them.
#[derive(Clone, Debug)]
pub struct Recognising<S> {
    visitor: Visitor,
    inner: S,
}

impl Recognised {
    /// Recognises a request, and puts what came of it in its extensions.
    pub(crate) async fn put<B>(visitor: &Visitor, mut request: Request<B>) -> Request<B> {
        let verdict = visitor.recognise(request.headers()).await;
        if let Some(peer) = verdict.as_ref().ok().and_then(Caller::peer).cloned() {
            request.extensions_mut().insert(peer);
        }
        let resource = visitor.resource().clone();
        request.extensions_mut().insert(Self { resource, verdict });
        request
    }

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

impl Visitor {
    /// A layer around the service of this connection: [`Gate::require`](crate::Gate::require) and [`Allowed::of`](crate::Allowed::of)
    /// below it know the caller of each request.
    #[must_use]
    pub fn layer(&self) -> Recognise {
        Recognise(self.clone())
    }
}

impl<S> Layer<S> for Recognise {
    type Service = Recognising<S>;

    fn layer(&self, inner: S) -> Recognising<S> {
        Recognising { visitor: self.0.clone(), inner }
    }
}

impl<S, B> Service<Request<B>> for Recognising<S>
where
    S: Service<Request<B>, Future: Send> + Clone + Send + 'static,
    B: Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready goes along, and its copy waits for its own turn.
        let copy = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, copy);
        let visitor = self.visitor.clone();
        Box::pin(async move {
            let request = Recognised::put(&visitor, request).await;
            inner.call(request).await
        })
    }
}

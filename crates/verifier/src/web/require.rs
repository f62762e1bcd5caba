//! A permission in front of a service, as a tower layer.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use countersign_policy::Permission;
use hyper::{Request, Response};
use tower::{Layer, Service};

use super::allowed::ask;
use crate::gate::Gate;

/// Lets only those requests through whose caller holds a permission; made by [`Gate::require`].
#[derive(Clone, Debug)]
pub struct Require {
    gate: Gate,
    permission: Permission,
}

/// A service behind a [`Require`].
#[derive(Clone, Debug)]
pub struct Required<S> {
    require: Require,
    inner: S,
}

impl Gate {
    /// A layer for what needs this permission, in axum, hyper or any other stack on tower: `401` for nobody, `403` for a caller without
    /// it.
    ///
    #[cfg_attr(feature = "axum", doc = "```")]
    #[cfg_attr(not(feature = "axum"), doc = "```ignore")]
    /// # use axum::{Router, routing::post};
    /// # fn example(gate: countersign_verifier::Gate) -> Result<(), Box<dyn std::error::Error>> {
    /// let router: Router = Router::new()
    ///     .route("/entries", post(|| async { "written" }))
    ///     .route_layer(gate.require("ledger:write".parse()?));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn require(&self, permission: Permission) -> Require {
        if !self.knows(&permission) {
            tracing::warn!(%permission, "no service of the policy declares this permission, so nobody can hold it");
        }
        Require { gate: self.clone(), permission }
    }
}

impl Require {
    /// The answer to a request that may not pass.
    fn refuse<A, B: From<String>>(&self, request: &Request<A>) -> Option<Response<B>> {
        let asked = ask(request.extensions(), Some(&self.gate), &self.permission, request.uri().path());
        asked.err().map(super::NotAllowed::answer)
    }
}

impl<S> Layer<S> for Require {
    type Service = Required<S>;

    fn layer(&self, inner: S) -> Required<S> {
        Required { require: self.clone(), inner }
    }
}

impl<S, A, B> Service<Request<A>> for Required<S>
where
    S: Service<Request<A>, Response = Response<B>, Error: Send, Future: Send + 'static>,
    B: From<String> + Send + 'static,
    S::Error: 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.require.refuse(&request) {
            Some(refused) => Box::pin(ready(Ok(refused))),
            None => Box::pin(self.inner.call(request)),
        }
    }
}

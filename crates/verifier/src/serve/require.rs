//! A permission in front of routes, as a tower layer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use countersign_policy::Permission;
use tower::{Layer, Service};

use super::allowed::{NotAllowed, ask};
use crate::gate::Gate;

/// Lets only those requests through whose peer holds a permission; made by [`Gate::require`].
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
    /// A layer for routes that need this permission: `401` for nobody, `403` for a peer without it.
    ///
    /// ```
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
    fn refuse(&self, request: &Request) -> Option<Response> {
        let gate = Some(&self.gate);
        ask(request.extensions(), gate, &self.permission, request.uri().path())
            .err()
            .map(NotAllowed::into_response)
    }
}

impl<S> Layer<S> for Require {
    type Service = Required<S>;

    fn layer(&self, inner: S) -> Required<S> {
        Required { require: self.clone(), inner }
    }
}

impl<S> Service<Request> for Required<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.require.refuse(&request) {
            Some(refused) => Box::pin(std::future::ready(Ok(refused))),
            None => Box::pin(self.inner.call(request)),
        }
    }
}

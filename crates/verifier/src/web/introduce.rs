//! The peer of a connection, told to each request that comes over it: for stacks that have no accept loop of ours.

use std::task::{Context, Poll};

use hyper::Request;
use tower::{Layer, Service};

use crate::gate::Admitted;

/// Tells each request who is at the other end; made by [`Admitted::layer`].
#[derive(Clone, Debug)]
pub struct Introduce(Admitted);

/// A service whose requests come from one peer.
#[derive(Clone, Debug)]
pub struct Introduced<S> {
    admitted: Admitted,
    inner: S,
}

impl Admitted {
    /// A layer around the service of this peer's connection: [`Gate::require`](crate::Gate::require) and
    /// [`Allowed::of`](crate::Allowed::of) below it know the caller. The peer itself is in the extensions, too.
    #[must_use]
    pub fn layer(&self) -> Introduce {
        Introduce(self.clone())
    }
}

impl<S> Layer<S> for Introduce {
    type Service = Introduced<S>;

    fn layer(&self, inner: S) -> Introduced<S> {
        Introduced { admitted: self.0.clone(), inner }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Introduced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.admitted.peer().clone());
        request.extensions_mut().insert(self.admitted.clone());
        self.inner.call(request)
    }
}

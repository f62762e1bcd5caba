//! One connection: its caller, attested once and held, and the HTTP/2 that carries its calls.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tonic::body::Body;

use super::authority::Softened;
use super::rarely::Rarely;
use super::routes::Routes;
use crate::attest::{Caller, Evidence, Selector};
use crate::custody::Custody;

/// Calls at a time on one connection: a client needs one for each kind of thing it watches.
const STREAMS: u32 = 32;
/// Larger than any honest request's headers.
const HEADERS: u32 = 16 << 10;
/// What a caller may send before we have read it: requests are small.
const WINDOW: u32 = 64 << 10;

/// Who is at the other end.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) caller: Caller,
    pub(super) custody: Arc<Custody>,
    without_pidfd: bool,
    /// Who was told of as somebody that nothing is registered for.
    pub(super) strangers: Arc<Rarely>,
    /// What is true of the caller, and which evidence that rests on.
    attested: Mutex<Option<(Evidence, Arc<BTreeSet<Selector>>)>>,
}

impl Connection {
    pub(super) fn new(
        caller: Caller,
        custody: Arc<Custody>,
        without_pidfd: bool,
        strangers: &Arc<Rarely>,
    ) -> Self {
        let strangers = Arc::clone(strangers);
        Self { caller, custody, without_pidfd, strangers, attested: Mutex::new(None) }
    }

    /// What is true of the caller: found out at its first call, and again only when a registration first asks for the
    /// digest of a program. Nothing once the process has ended: whoever holds its end of the socket then is somebody else.
    pub(super) async fn selectors(self: &Arc<Self>) -> Arc<BTreeSet<Selector>> {
        if !self.caller.is_alive() {
            return Arc::default();
        }
        let digest = self.custody.watch().borrow().asks_for_digest();
        let evidence = Evidence { digest, without_pidfd: self.without_pidfd };
        let mut attested = self.attested.lock().await;
        if let Some((had, found)) = &*attested
            && (had.digest || !digest)
        {
            return Arc::clone(found);
        }
        let connection = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || connection.caller.selectors(evidence)).await;
        let found = Arc::new(found.unwrap_or_default());
        let all: Vec<_> = found.iter().map(ToString::to_string).collect();
        tracing::debug!(pid = self.caller.pid(), selectors = all.join(" "), "a caller is attested");
        *attested = Some((evidence, Arc::clone(&found)));
        found
    }
}

/// Serves the calls of one connection until the caller hangs up or ends.
pub(super) async fn serve(stream: UnixStream, connection: Arc<Connection>, routes: &Arc<Routes>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (routes, connection) = (Arc::clone(routes), Arc::clone(&connection));
        async move { Ok::<_, Infallible>(routes.answer(request.map(Body::new), &connection).await) }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_pending_accept_reset_streams(STREAMS as usize)
        .serve_connection(TokioIo::new(Softened::new(stream)), service);
    tokio::select! {
        end = served => if let Err(error) = end {
            tracing::debug!(pid = connection.caller.pid(), %error, "a connection broke");
        },
        () = connection.caller.gone() => {}
    }
}

//! One HTTP connection: bounded in headers, streams, idling and age.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service as HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tower::Service;

use super::guard::{End, Guard, Lost};
use super::{Limits, Wire};

/// hyper refuses to work with a smaller HTTP/1 buffer.
const SMALLEST_BUFFER: usize = 8192;

/// How often an HTTP/2 peer that says nothing is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);

/// Until when a connection may live.
pub(super) struct Bounds<'a> {
    pub(super) limits: &'a Limits,
    pub(super) http2: bool,
    pub(super) age: Duration,
    pub(super) closed: watch::Receiver<bool>,
    pub(super) guard: Guard,
}

/// The router, telling each request whose connection it came over.
pub(super) fn service<C: Clone + Send + Sync + 'static>(
    router: Router,
    context: Option<C>,
    wire: Wire,
    lost: Lost,
) -> impl HttpService<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(context) = &context {
            request.extensions_mut().insert(context.clone());
        }
        request.extensions_mut().insert(wire);
        let mut router = router.clone();
        let refused = lost.answer(request.uri().path());
        async move {
            match refused {
                Some(refused) => Ok(refused),
                None => router.call(request).await as Result<Response, Infallible>,
            }
        }
    })
}

/// Serves requests until the peer leaves or is lost, the connection is old, or the server closes; then lets those under way finish.
pub(super) async fn run<S>(stream: TlsStream<TcpStream>, service: S, bounds: Bounds<'_>)
where
    S: HttpService<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    let Bounds { limits, http2, age, mut closed, mut guard } = bounds;
    let builder = builder(limits, http2);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // The peer's own faults are its own business; they end the connection and nothing else.
        _ended = connection.as_mut() => return,
        () = sleep(age) => {}
        end = guard.over() => if end == End::Cut { return },
        _closing = closed.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.drain, connection).await;
}

fn builder(limits: &Limits, http2: bool) -> Builder<TokioExecutor> {
    // ALPN has settled the protocol. Left to guess, hyper would wait for the first octets without any time limit.
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX).max(SMALLEST_BUFFER);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.headers)
        .max_buf_size(header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes);
    builder
}

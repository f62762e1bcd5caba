//! Health and metrics on a listener and a thread of their own: they answer whatever the rest is busy with.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use countersign_api::paths;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::service::{Ca, Readiness};

/// Connections at once: a few scrapers and a person.
const CONNECTIONS: usize = 64;
/// How long a request's headers may take, so also how long a connection may idle.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may live.
const LONGEST: Duration = Duration::from_secs(60);
/// How long the loop rests when the machine has no more file descriptors.
const REST: Duration = Duration::from_millis(50);

/// The ops listener, running.
#[derive(Debug)]
pub(super) struct Ops {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Ops {
    /// Listens at `address` until [`Ops::stop`].
    pub(super) fn start(ca: Arc<Ca>, address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("ops".into()).spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                tokio::select! {
                    // Either word or silence from the other side means the end.
                    _ = stopped => Ok(()),
                    ended = attend(listener, router(ca)) => ended,
                }
            })
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops listening; open scrapes end with the process.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
        drop(self.thread);
    }
}

/// Serves each connection, so many at once and none for long: whoever holds them open must not silence health.
async fn attend(listener: TcpListener, router: Router) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "the ops listener cannot accept a connection");
                sleep(REST).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // A scraper's faults are its own business.
            let _ = timeout(LONGEST, http.serve_connection(TokioIo::new(socket), service)).await;
            drop(place);
        });
    }
}

fn router(ca: Arc<Ca>) -> Router {
    Router::new()
        .route(paths::HEALTHZ, get(async || "ok\n"))
        .route(paths::READYZ, get(ready))
        .route(paths::METRICS, get(metrics))
        .with_state(ca)
}

async fn ready(State(ca): State<Arc<Ca>>) -> impl IntoResponse {
    match ca.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::Not(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

async fn metrics(State(ca): State<Arc<Ca>>) -> impl IntoResponse {
    ca.refresh_gauges();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], ca.metrics().text())
}

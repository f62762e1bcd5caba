//! Health and metrics on a listener and a thread of their own: they answer whatever the rest is busy with.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use countersign_api::paths;
use tokio::sync::oneshot;

use crate::service::{Ca, Readiness};

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
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let until = async {
                    // Either word or silence from the other side means the end.
                    let _ = stopped.await;
                };
                axum::serve(listener, router(ca)).with_graceful_shutdown(until).await
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

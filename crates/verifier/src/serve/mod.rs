//! The accept loop: limits, handshakes, and HTTP connections that know their peer.

mod allowed;
mod arrival;
mod connection;
mod extract;
mod guard;
mod limits;
#[cfg(feature = "tokens")]
mod resource;
mod sources;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::gate::Gate;
use crate::handshake::handshake;
use crate::peer::VerifiedPeer;
use crate::refusal::Refusal;
use crate::report::Reporter;
use crate::server::{AcceptError, ServerAcceptor};
use connection::Bounds;
use guard::Guard;
use sources::{Place, Sources};

pub use arrival::{Admission, Arrival, Wire};
pub use limits::Limits;
#[cfg(feature = "tokens")]
pub use resource::axum_serve_resource;

/// How long the loop rests when the machine has no more file descriptors, so as not to spin.
const REST: Duration = Duration::from_millis(50);

/// Serves an axum router to admitted peers, until `shutdown` is done and the requests under way have finished.
///
/// Each connection is watched: a peer that is revoked, or whose certificate ends, loses it as the acceptor's
/// [`on_loss`](ServerAcceptor::on_loss) says.
///
/// Handlers take the [`VerifiedPeer`] as an argument; the [`Wire`] of its connection is in the
/// extensions. Handshake time and connection age are the acceptor's, the other limits are the default ones.
///
/// # Errors
/// When the listener has no local address, so that it cannot be accepting.
pub async fn axum_serve(
    listener: TcpListener,
    acceptor: ServerAcceptor,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_admitted(listener, acceptor, |peer| peer, router, shutdown).await
}

/// The same as [`axum_serve`] with the permissions of each peer resolved once per connection: handlers may also take
/// [`Admitted`](crate::Admitted) as an argument.
///
/// # Errors
/// As [`axum_serve`].
pub async fn axum_serve_gated(
    listener: TcpListener,
    acceptor: ServerAcceptor,
    gate: Gate,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let context = move |peer: Option<VerifiedPeer>| peer.map(|peer| gate.admit(peer));
    serve_admitted(listener, acceptor, context, router, shutdown).await
}

/// `context` makes of each connection's peer, or of none where that is allowed, what its requests have in their extensions.
async fn serve_admitted<C: Clone + Send + Sync + 'static>(
    listener: TcpListener,
    acceptor: ServerAcceptor,
    context: impl Fn(Option<VerifiedPeer>) -> Option<C> + Send + Sync + 'static,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let limits = Limits {
        handshake_timeout: acceptor.handshake_timeout(),
        // Each admission carries the acceptor's own.
        connection_age: Duration::MAX,
        ..Limits::default()
    };
    let config = Arc::new(ArcSwap::new(Arc::clone(acceptor.config())));
    let reporter = acceptor.reporter().cloned();
    let admit = move |arrival: &Arrival<'_>| {
        let peer = arrival.verified().cloned();
        let admission = Admission::new(context(peer.clone()));
        match peer {
            Some(peer) => {
                let (lifetime, vigil) = (acceptor.lifetime(&peer), acceptor.vigil(&peer));
                Ok(admission.at_most(lifetime).watched(vigil, acceptor.on_loss()))
            }
            None if acceptor.lets_anybody_in() => Ok(admission.at_most(acceptor.age())),
            None => Err(Refusal::NoCertificate),
        }
    };
    let limits = Arc::new(ArcSwap::from_pointee(limits));
    let desk = |closed| Desk { config, limits: Arc::clone(&limits), admit, router, reporter, closed };
    serve(listener, Arc::clone(&limits), desk, shutdown).await
}

/// Serves an axum router over TLS to whomever `admit` lets in, until `shutdown` is done and the requests under way have
/// finished.
///
/// `config` and `limits` are read anew for each connection. `admit` is asked once per connection, right after the handshake; what it
/// returns is cloned into the extensions of each request, beside the [`Wire`].
///
/// # Errors
/// When the listener has no local address, so that it cannot be accepting.
pub async fn serve_connections<C, A>(
    listener: TcpListener,
    config: Arc<ArcSwap<ServerConfig>>,
    limits: Arc<ArcSwap<Limits>>,
    admit: A,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()>
where
    C: Clone + Send + Sync + 'static,
    A: Fn(&Arrival<'_>) -> Result<Admission<C>, Refusal> + Send + Sync + 'static,
{
    let admit = move |arrival: &Arrival<'_>| admit(arrival).map(|admission| admission.map(Some));
    let desk = |closed| Desk { config, limits: Arc::clone(&limits), admit, router, reporter: None, closed };
    serve(listener, Arc::clone(&limits), desk, shutdown).await
}

/// Accepts and attends, until `shutdown` is done and what was under way has finished.
async fn serve<C, A>(
    listener: TcpListener,
    limits: Arc<ArcSwap<Limits>>,
    desk: impl FnOnce(watch::Receiver<bool>) -> Desk<A>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()>
where
    C: Clone + Send + Sync + 'static,
    A: Fn(&Arrival<'_>) -> Result<Admission<Option<C>>, Refusal> + Send + Sync + 'static,
{
    let local = listener.local_addr()?;
    let (closing, closed) = watch::channel(false);
    let sources = Sources::new(Arc::clone(&limits));
    let desk = Arc::new(desk(closed));
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) => match sources.admit(from.ip()) {
                    // A task is moved several times; what it does is large, so only its place is.
                    Some(place) => { open.spawn(Box::pin(Arc::clone(&desk).attend(socket, from, place))); }
                    None => tracing::debug!(%local, %from, "too many connections, closed at once"),
                },
                Err(fault) => {
                    tracing::warn!(%local, %fault, "cannot accept a connection");
                    sleep(REST).await;
                }
            },
        }
    }
    drop(listener);
    let _ = closing.send(true);
    let drained = async { while open.join_next().await.is_some() {} };
    let patience = limits.load().drain.saturating_add(REST);
    if timeout(patience, drained).await.is_err() {
        tracing::warn!(%local, "some requests did not finish in time and were cut off");
    }
    Ok(())
}

/// What every connection of one listener shares.
struct Desk<A> {
    config: Arc<ArcSwap<ServerConfig>>,
    limits: Arc<ArcSwap<Limits>>,
    admit: A,
    router: Router,
    reporter: Option<Reporter>,
    closed: watch::Receiver<bool>,
}

impl<A> Desk<A> {
    /// One connection, from its first octet to its end.
    async fn attend<C>(self: Arc<Self>, socket: TcpStream, from: SocketAddr, place: Place)
    where
        C: Clone + Send + Sync + 'static,
        A: Fn(&Arrival<'_>) -> Result<Admission<Option<C>>, Refusal>,
    {
        // Small answers must not wait for the acknowledgement of earlier ones.
        let _ = socket.set_nodelay(true);
        let greeting = async {
            let _turn = place.turn().await;
            handshake(self.config.load_full(), socket, self.reporter.as_ref()).await
        };
        let limits = **self.limits.load();
        let limit = limits.handshake_timeout;
        let mut closed = self.closed.clone();
        let greeted = tokio::select! {
            greeted = timeout(limit, greeting) => greeted.unwrap_or(Err(AcceptError::Timeout(limit))),
            // Nobody who has not finished its handshake is owed an answer.
            _closing = closed.wait_for(|closing| *closing) => return,
        };
        let (stream, verdict) = match greeted {
            Ok(greeted) => greeted,
            Err(reason) => return tracing::debug!(%from, %reason, "handshake failed"),
        };
        let arrival = Arrival::new(from, stream.get_ref().1, verdict.and_then(Result::ok));
        let wire = arrival.wire();
        match (self.admit)(&arrival) {
            Ok(admission) => {
                let age = admission.at_most.unwrap_or(Duration::MAX).min(limits.connection_age);
                let guard = Guard::new(admission.watch);
                let service = connection::service(self.router.clone(), admission.context, wire, guard.lost());
                let bounds = Bounds { limits: &limits, http2: wire.http2, age, closed, guard };
                connection::run(stream, service, bounds).await;
            }
            Err(refusal) => tracing::debug!(%from, reason = %refusal, "refused after the handshake"),
        }
    }
}

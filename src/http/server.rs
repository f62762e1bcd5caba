//! The running server: the three listeners, the signals, and the chores between requests.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use countersign_identity::{TrustBundle, TrustDomain};
use countersign_store::Actor;
use countersign_verifier::{
    Admission, Arrival, FrontDoor, OwnIdentity, SetupError, SvidVerifier, SystemClock, TrustError,
    TrustStore, provider, serve_connections,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs::kx_group},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{
    live_set::SignedHere,
    ops::Ops,
    public_router,
    signals::{Signal, Signals},
    unix::AdminSocket,
    visitor::Visitor,
};
use crate::{
    config::{Config, KeyExchange, Limits},
    service::{self, Ca, LogLevel, Publisher, Refused, World},
    signer::Entropy,
};

/// How often expired issuances leave, gauges are counted and certificates looked at.
const CHORES: Duration = Duration::from_secs(30);

/// Why the CA does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Keys, profiles, book.
    #[error(transparent)]
    Open(#[from] service::StartError),
    /// The CA's own certificate or the first policy.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// TLS settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] SetupError),
    /// The CA's own root.
    #[error("cannot trust our own root: {0}")]
    Trust(#[from] TrustError),
    /// An address or a socket.
    #[error("cannot listen at {what}: {source}")]
    Listen {
        /// Where.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A signal handler.
    #[error("cannot watch for signals: {0}")]
    Signal(io::Error),
}

impl StartError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another process listens there: stop it, or change listen or ops_listen")
            }
            Self::Open(service::StartError::Keys(service::KeySetError::IssuerEnded(_))) => {
                Some("countersign issuer rotate works while the CA is stopped, too")
            }
            _ => None,
        }
    }
}

/// A CA that serves.
#[derive(Debug)]
pub struct Server {
    signals: Signals,
    desk: Arc<Desk>,
    stopping: watch::Sender<bool>,
    tls: JoinHandle<io::Result<()>>,
    admin: AdminSocket,
    ops: Ops,
}

/// What the chores and the reload touch.
#[derive(Debug)]
pub(super) struct Desk {
    ca: Arc<Ca>,
    identity: Arc<OwnIdentity>,
    trust: Arc<TrustStore>,
    tls: Arc<ArcSwap<ServerConfig>>,
    limits: Arc<ArcSwap<countersign_verifier::Limits>>,
    level: LogLevel,
}

impl Server {
    /// Opens the CA that `config` describes and starts to listen.
    ///
    /// # Errors
    /// Names the file, address or key, and what is wrong with it.
    pub async fn start(config: Config, level: LogLevel) -> Result<Self, StartError> {
        // First of all: whoever sees it serve may stop it.
        let signals = Signals::watch().map_err(StartError::Signal)?;
        let world = World {
            clock: Arc::new(SystemClock),
            entropy: Entropy::system(),
            algorithms: provider().signature_verification_algorithms.all,
        };
        let (listen, ops_listen) = (config.listen, config.ops_listen);
        let socket = config.admin_socket();
        let ca = Arc::new(Ca::open(config, world)?);
        ca.write_down_issuers(&ca.keys(), Actor::House).await?;
        ca.load_first_policy().await?;
        let desk = Arc::new(Desk::open(ca, level).await?);
        let publisher = Publisher::begin(&desk.ca).await;
        tokio::spawn(publisher.run(Arc::clone(&desk.ca)));
        let (stopping, stopped) = watch::channel(false);
        let listener = TcpListener::bind(listen).await.map_err(cannot_listen(listen))?;
        let tls = tokio::spawn(Arc::clone(&desk).serve(listener, stopped.clone()));
        let admin = AdminSocket::start(&desk, &socket, stopped)
            .map_err(|source| StartError::Listen { what: socket.display().to_string(), source })?;
        let ops = Ops::start(Arc::clone(&desk.ca), ops_listen).map_err(cannot_listen(ops_listen))?;
        tracing::info!(%listen, %ops_listen, trust_domain = %desk.ca.trust_domain(), "serving");
        Ok(Self { signals, desk, stopping, tls, admin, ops })
    }

    /// The CA behind it, for whoever has it inside their own process.
    #[must_use]
    pub fn ca(&self) -> &Arc<Ca> {
        &self.desk.ca
    }

    /// The trust domain served.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        self.desk.ca.trust_domain()
    }

    /// What invitations carry.
    #[must_use]
    pub fn url(&self) -> &str {
        self.desk.ca.url()
    }

    /// Serves until SIGTERM or SIGINT, then lets requests under way finish. SIGHUP reloads.
    pub async fn until_stopped(mut self) {
        let mut chores = tokio::time::interval(CHORES);
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Signal::Stop => break,
                    Signal::Reload => if let Err(error) = self.desk.reload() {
                        tracing::error!(%error, "reload refused, nothing has changed");
                    },
                },
                _ = chores.tick() => self.desk.chores().await,
            }
        }
        tracing::info!("stopping");
        self.desk.ca.stop_publishing();
        // Nobody may be left to hear it.
        let _ = self.stopping.send(true);
        let _ = self.tls.await;
        self.desk.ca.write_counts().await;
        self.admin.stopped().await;
        self.ops.stop();
    }
}

impl Desk {
    async fn open(ca: Arc<Ca>, level: LogLevel) -> Result<Self, StartError> {
        let certificate = ca.issue_server_certificate().await?;
        let identity = OwnIdentity::new(certificate.chain, certificate.key)?;
        ca.note_server_certificate(certificate.validity);
        let bundle = TrustBundle::new(ca.trust_domain().clone(), vec![ca.keys().root().der().to_vec()]);
        let trust = Arc::new(TrustStore::new([bundle])?);
        let tls = tls_config(&ca, &ca.config().groups, &trust, &identity)?;
        let limits = Arc::new(ArcSwap::from_pointee(listener_limits(&ca.limits())));
        Ok(Self { tls: Arc::new(ArcSwap::new(tls)), limits, ca, identity, trust, level })
    }

    pub(super) fn ca(&self) -> &Arc<Ca> {
        &self.ca
    }

    async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        mut stopped: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let door = front_door(&self.ca, &self.ca.config().groups, &self.trust);
        let ca = Arc::clone(&self.ca);
        let admit = move |arrival: &Arrival<'_>| {
            ca.metrics().count_handshake(arrival.wire().key_exchange);
            Ok(Admission::new(Visitor::arrive(&door, arrival.certificates(), &ca.metrics().connections)))
        };
        let until = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let (tls, limits) = (Arc::clone(&self.tls), Arc::clone(&self.limits));
        serve_connections(listener, tls, limits, admit, public_router(&self.ca), until).await
    }

    /// Reads the configuration again; all or nothing.
    pub(super) fn reload(&self) -> Result<Vec<String>, Refused> {
        let new = self.ca.read_again()?;
        let tls = tls_config(&self.ca, &new.config().groups, &self.trust, &self.identity)
            .map_err(|error| Refused::Reload(error.to_string()))?;
        let limits = Arc::new(listener_limits(&new.config().limits));
        let changed = self.ca.take_up(new, &self.level)?;
        self.tls.store(tls);
        self.limits.store(limits);
        Ok(changed)
    }

    /// What must be done now and then; a chore that fails is done again at the next turn.
    async fn chores(&self) {
        if let Err(error) = self.ca.sweep().await {
            tracing::error!(%error, "expired records could not leave");
        }
        self.ca.hand_on_events();
        if self.ca.server_certificate_is_old() {
            match self.ca.issue_server_certificate().await {
                Ok(certificate) => {
                    self.ca.note_server_certificate(certificate.validity);
                    if let Err(error) = self.identity.replace(certificate.chain, certificate.key) {
                        tracing::error!(%error, "the new server certificate was not taken up");
                    }
                }
                Err(error) => tracing::error!(%error, "no new server certificate"),
            }
        }
        self.ca.warn_of_ends();
    }
}

fn front_door(ca: &Arc<Ca>, groups: &[KeyExchange], trust: &Arc<TrustStore>) -> FrontDoor {
    let verifier = SvidVerifier::new(with_groups(groups), Arc::clone(trust), Arc::clone(ca.clock()));
    FrontDoor::new(verifier.with_live_set(Arc::new(SignedHere(Arc::clone(ca)))))
}

fn tls_config(
    ca: &Arc<Ca>,
    groups: &[KeyExchange],
    trust: &Arc<TrustStore>,
    identity: &Arc<OwnIdentity>,
) -> Result<Arc<ServerConfig>, SetupError> {
    front_door(ca, groups, trust).config(Arc::clone(identity))
}

/// The verifier's provider with the configured key-exchange groups, most wanted first.
fn with_groups(groups: &[KeyExchange]) -> Arc<CryptoProvider> {
    let kx_groups = groups
        .iter()
        .map(|group| match group {
            KeyExchange::X25519MlKem768 => kx_group::X25519MLKEM768,
            KeyExchange::X25519 => kx_group::X25519,
            KeyExchange::Secp256r1 => kx_group::SECP256R1,
            KeyExchange::Secp384r1 => kx_group::SECP384R1,
        })
        .collect();
    Arc::new(CryptoProvider { kx_groups, ..(*provider()).clone() })
}

fn listener_limits(limits: &Limits) -> countersign_verifier::Limits {
    countersign_verifier::Limits {
        connections: limits.connections,
        connections_per_source: limits.connections_per_source,
        handshakes: limits.handshakes,
        // Whoever greets and then says nothing keeps its turn until it is cut: no source keeps them all.
        handshakes_per_source: (limits.handshakes / 4).max(1),
        handshake_timeout: limits.handshake,
        header_timeout: limits.request,
        connection_age: limits.connection_age,
        drain: limits.request,
        ..countersign_verifier::Limits::default()
    }
}

fn cannot_listen(at: SocketAddr) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Listen { what: at.to_string(), source }
}

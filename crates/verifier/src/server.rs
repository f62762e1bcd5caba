//! A service's TLS side: clients must show a certificate that the peer rule admits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::Clock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::clock::SystemClock;
use crate::handshake::handshake;
use crate::limit::{KeyKind, Limits, hybrid_alone};
use crate::own::{OwnIdentity, SetupError};
use crate::peer::VerifiedPeer;
use crate::provider::{Possession, provider};
use crate::refusal::Refusal;
use crate::report::Reporter;
use crate::revocation::Revocation;
use crate::rule::PeerRule;
use crate::strict_door::StrictDoor;
use crate::svid::SvidVerifier;
use crate::trust::TrustStore;
use crate::vigil::{OnLoss, Vigil};

/// How a handshake ends that takes too long: ten seconds are many round trips on any network worth serving.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds a TLS server for services. Answer, in this order:
///
/// 1. **Who am I?** An [`OwnIdentity`], shown to clients.
/// 2. **Whom do I believe?** A [`TrustStore`] of bundles, one per trust domain.
/// 3. **Who may come in?** A [`PeerRule`], given to [`admit`](ServerBuilder::admit). There is no default: without it
///    there is nothing to build.
///
/// ```
/// # use std::sync::Arc;
/// # use countersign_verifier::*;
/// # fn example(identity: Arc<OwnIdentity>, trust: Arc<TrustStore>) -> Result<(), Box<dyn std::error::Error>> {
/// let acceptor = ServerBuilder::new(identity, trust)
///     .admit(PeerRule::one_of(["spiffe://prod.example/payments".parse()?]))
///     .build()?;
/// # Ok(()) }
/// ```
///
/// Without a rule it does not compile (Invariant 6):
///
/// ```compile_fail,E0599
/// # use std::sync::Arc;
/// # use countersign_verifier::*;
/// # fn example(identity: Arc<OwnIdentity>, trust: Arc<TrustStore>) {
/// let acceptor = ServerBuilder::new(identity, trust).build();
/// # }
/// ```
///
/// Everything else has a default: TLS 1.3 with hybrid post-quantum key exchange where the provider has it, no session
/// resumption, ten seconds for a handshake, `h2` and `http/1.1`, connections closed after an hour.
#[derive(Debug)]
pub struct ServerBuilder {
    identity: Arc<OwnIdentity>,
    trust: Arc<TrustStore>,
}

/// A server whose three questions are answered; what is left has defaults.
#[derive(Debug)]
pub struct ServerSettings {
    identity: Arc<OwnIdentity>,
    trust: Arc<TrustStore>,
    rule: PeerRule,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    revocation: Option<Arc<dyn Revocation>>,
    limits: Limits,
    hybrid: bool,
    alpn: Vec<Vec<u8>>,
    handshake_timeout: Duration,
    connection_age: Duration,
    on_loss: OnLoss,
    reporter: Option<Reporter>,
    optional: bool,
}

/// Accepts connections of admitted peers, and only those.
#[derive(Clone, Debug)]
pub struct ServerAcceptor {
    config: Arc<ServerConfig>,
    door: Arc<StrictDoor>,
    handshake_timeout: Duration,
    connection_age: Duration,
    on_loss: OnLoss,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The peer was turned away.
    #[error(transparent)]
    Refused(Refusal),
    /// TLS or the network failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    /// The handshake took too long.
    #[error("the TLS handshake was not done within {0:?}")]
    Timeout(Duration),
}

impl ServerBuilder {
    /// Who I am and whom I believe.
    #[must_use]
    pub const fn new(identity: Arc<OwnIdentity>, trust: Arc<TrustStore>) -> Self {
        Self { identity, trust }
    }

    /// Who may come in.
    #[must_use]
    pub fn admit(self, rule: PeerRule) -> ServerSettings {
        ServerSettings {
            identity: self.identity,
            trust: self.trust,
            rule,
            provider: provider(),
            clock: Arc::new(SystemClock),
            revocation: None,
            limits: Limits::default(),
            hybrid: false,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            handshake_timeout: HANDSHAKE_TIMEOUT,
            connection_age: Duration::from_secs(3600),
            on_loss: OnLoss::default(),
            reporter: None,
            optional: false,
        }
    }
}

impl ServerSettings {
    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Another provider than [`provider`].
    #[must_use]
    pub fn provider(self, provider: Arc<CryptoProvider>) -> Self {
        Self { provider, ..self }
    }

    /// Also refuses what this list revokes.
    #[must_use]
    pub fn revocation(self, revocation: Arc<dyn Revocation>) -> Self {
        Self { revocation: Some(revocation), ..self }
    }

    /// Also refuses clients whose certificate lives longer in all, whatever their issuer allows; no limit by default.
    #[must_use]
    pub fn lifetime_limit(mut self, limit: Duration) -> Self {
        self.limits.lifetime = Some(limit);
        self
    }

    /// Also refuses clients with a key of any other kind; by default each kind that the provider verifies is good.
    #[must_use]
    pub fn key_kinds(mut self, kinds: &[KeyKind]) -> Self {
        self.limits.key_kinds = Some(kinds.to_vec());
        self
    }

    /// Refuses every handshake whose key exchange is not hybrid, classical and post-quantum together. By default the hybrid is
    /// preferred where both sides have it.
    #[must_use]
    pub fn require_hybrid(self) -> Self {
        Self { hybrid: true, ..self }
    }

    /// The application protocols offered, most wanted first; default `h2`, `http/1.1`.
    #[must_use]
    pub fn alpn(self, protocols: &[&str]) -> Self {
        Self { alpn: protocols.iter().map(|name| name.as_bytes().to_vec()).collect(), ..self }
    }

    /// How long a handshake may take; default 10 s.
    #[must_use]
    pub fn handshake_timeout(self, limit: Duration) -> Self {
        Self { handshake_timeout: limit, ..self }
    }

    /// What becomes of a live connection whose peer no longer stands; by default it is cut.
    #[must_use]
    pub fn on_loss(self, on_loss: OnLoss) -> Self {
        Self { on_loss, ..self }
    }

    /// Lets clients in that show no certificate: they are nobody until a token or something else proves who they are. A certificate that
    /// is shown is judged like any other, and a bad one refused.
    #[must_use]
    pub fn certificate_optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// Tells `reporter` who came in and who did not, and who was lost.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter: Some(reporter), ..self }
    }

    /// How long a connection may live; default 1 h, and never past the peer's certificate, unless
    /// [`on_loss`](ServerSettings::on_loss) has it otherwise.
    #[must_use]
    pub fn connection_age(self, limit: Duration) -> Self {
        Self { connection_age: limit, ..self }
    }

    /// The acceptor.
    ///
    /// # Errors
    /// When the provider does not support TLS 1.3, or has no hybrid key exchange and one is required.
    pub fn build(self) -> Result<ServerAcceptor, SetupError> {
        let provider = if self.hybrid { Arc::new(hybrid_alone(&self.provider)?) } else { self.provider };
        let possession = Possession::new(&provider);
        let mut verifier = SvidVerifier::new(provider, self.trust, self.clock).with_limits(self.limits);
        if let Some(list) = self.revocation {
            verifier = verifier.with_revocation(list);
        }
        let Self { rule, reporter, optional, .. } = self;
        let door = Arc::new(StrictDoor { verifier, rule, possession, reporter, optional });
        let config =
            crate::tls::server_config(&door.verifier, Arc::clone(&door) as _, self.identity, self.alpn)?;
        let Self { handshake_timeout, connection_age, on_loss, .. } = self;
        Ok(ServerAcceptor { config, door, handshake_timeout, connection_age, on_loss })
    }
}

impl ServerAcceptor {
    /// The settings for other TLS stacks on rustls; they refuse the same peers. Take the peer with
    /// [`judge`](ServerAcceptor::judge) from its certificates.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Judges a client's certificate chain by path, leaf rules, time, revocation and peer rule.
    ///
    /// # Errors
    /// With the reason to turn the client away.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedPeer, Refusal> {
        self.door.judge(chain)
    }

    /// The time limit for a handshake.
    #[must_use]
    pub const fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    /// Whether a client without a certificate is let in.
    #[must_use]
    pub fn lets_anybody_in(&self) -> bool {
        self.door.optional
    }

    #[cfg(feature = "axum")]
    pub(crate) const fn age(&self) -> Duration {
        self.connection_age
    }

    #[cfg(feature = "axum")]
    pub(crate) fn reporter(&self) -> Option<&Reporter> {
        self.door.reporter.as_ref()
    }

    /// A watch over a live connection of this peer.
    #[must_use]
    pub fn vigil(&self, peer: &VerifiedPeer) -> Vigil {
        Vigil::over(&self.door.verifier, peer).reporting(self.door.reporter.clone())
    }

    /// What becomes of a live connection whose peer no longer stands.
    #[must_use]
    pub const fn on_loss(&self) -> OnLoss {
        self.on_loss
    }

    /// How long a connection of this peer may live from now on: the connection age, or the rest of its certificate where
    /// connections are cut.
    #[must_use]
    pub fn lifetime(&self, peer: &VerifiedPeer) -> Duration {
        // `not_after` is itself a valid second.
        let rest = peer.not_after().since(self.door.verifier.clock().now()) + Duration::from_secs(1);
        match self.on_loss {
            OnLoss::Drop => rest.min(self.connection_age),
            OnLoss::Refuse | OnLoss::Report => self.connection_age,
        }
    }

    /// Completes a handshake and says with whom.
    ///
    /// # Errors
    /// When the peer is refused, breaks off, or takes too long. A refused peer gets a TLS alert, which it sees at its
    /// first read (RFC 8446 §4.4.2.4 lets a client finish before the server has judged).
    pub async fn accept<IO>(&self, io: IO) -> Result<(TlsStream<IO>, VerifiedPeer), AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match self.accept_any(io).await? {
            (stream, Some(peer)) => Ok((stream, peer)),
            (_, None) => Err(AcceptError::Refused(Refusal::NoCertificate)),
        }
    }

    /// The same where clients without a certificate are let in, too: they are nobody.
    ///
    /// # Errors
    /// As [`accept`](ServerAcceptor::accept).
    pub async fn accept_any<IO>(&self, io: IO) -> Result<(TlsStream<IO>, Option<VerifiedPeer>), AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.handshake_timeout;
        let handshake = handshake(Arc::clone(&self.config), io, self.door.reporter.as_ref());
        let (stream, verdict) =
            timeout(limit, handshake).await.map_err(|_| AcceptError::Timeout(limit))??;
        match verdict {
            Some(Ok(peer)) => Ok((stream, Some(peer))),
            Some(Err(refusal)) => Err(AcceptError::Refused(refusal)),
            None if self.door.optional => Ok((stream, None)),
            None => Err(AcceptError::Refused(Refusal::NoCertificate)),
        }
    }
}

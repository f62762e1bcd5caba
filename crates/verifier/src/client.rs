//! A caller's TLS side: the server is known by its SPIFFE ID, never by a host name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{Clock, SpiffeIdError, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, PeerMisbehaved, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::SystemClock;
use crate::limit::{KeyKind, Limits, hybrid_alone, is_hybrid_alone};
use crate::outcome;
use crate::own::{OwnIdentity, SetupError};
use crate::peer::VerifiedPeer;
use crate::pinned::Pin;
use crate::provider::{Possession, provider};
use crate::refusal::Refusal;
use crate::revocation::Revocation;
use crate::rule::PeerRule;
use crate::server::HANDSHAKE_TIMEOUT;
use crate::svid::{SvidVerifier, Usage};
use crate::trust::TrustStore;
use crate::verdict;
use crate::vigil::Vigil;

/// Builds a TLS client. Answer, in this order:
///
/// 1. **Whom do I believe?** A [`TrustStore`] of bundles, one per trust domain.
/// 2. **Whom do I expect?** A [`PeerRule`], given to [`expect`](ClientBuilder::expect). There is no default.
/// 3. **Who am I?** An [`OwnIdentity`], given to [`identity`](ClientSettings::identity); none makes an anonymous client.
///
/// ```
/// # use std::sync::Arc;
/// # use countersign_verifier::*;
/// # fn example(mine: Arc<OwnIdentity>, trust: Arc<TrustStore>) -> Result<(), Box<dyn std::error::Error>> {
/// let connector = ClientBuilder::new(trust)
///     .expect(PeerRule::one_of(["spiffe://prod.example/ledger".parse()?]))
///     .identity(mine)
///     .build()?;
/// # Ok(()) }
/// ```
///
/// A machine that holds no bundle yet meets its certificate authority by [`pinned_ca`](ClientBuilder::pinned_ca).
#[derive(Debug)]
pub struct ClientBuilder {
    trust: Arc<TrustStore>,
}

/// A client that knows whom it expects; what is left has defaults.
#[derive(Debug)]
pub struct ClientSettings {
    expected: Expected,
    identity: Option<Arc<OwnIdentity>>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    revocation: Option<Arc<dyn Revocation>>,
    limits: Limits,
    hybrid: bool,
    alpn: Vec<Vec<u8>>,
    handshake_timeout: Duration,
}

/// Connects to the expected peers, and only to those.
#[derive(Clone, Debug)]
pub struct ClientConnector {
    config: Arc<ClientConfig>,
    door: Arc<ServerDoor>,
    handshake_timeout: Duration,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server is not whom it must be.
    #[error("the server was refused: {0}")]
    Refused(Refusal),
    /// TLS or the network failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    /// The handshake took too long.
    #[error("the TLS handshake was not done within {0:?}")]
    Timeout(Duration),
}

#[derive(Debug)]
enum Expected {
    Rule(PeerRule, Arc<TrustStore>),
    Pinned(Pin, PeerRule),
}

impl ClientBuilder {
    /// Whom I believe.
    #[must_use]
    pub const fn new(trust: Arc<TrustStore>) -> Self {
        Self { trust }
    }

    /// Whom I expect.
    #[must_use]
    pub fn expect(self, rule: PeerRule) -> ClientSettings {
        ClientSettings::new(Expected::Rule(rule, self.trust))
    }

    /// The certificate authority of `trust_domain`, known by the SHA-256 of its root certificate: the server must show
    /// that very root, a valid path from its leaf to it, and be `spiffe://TRUST-DOMAIN/countersign/ca`.
    ///
    /// # Errors
    /// When the trust domain is so long that the authority's SPIFFE ID is none.
    pub fn pinned_ca(
        trust_domain: TrustDomain,
        root_sha256: [u8; 32],
    ) -> Result<ClientSettings, SpiffeIdError> {
        Self::pinned_roots(trust_domain, &[root_sha256])
    }

    /// The same where the trust domain has several roots, as [`WalkedRoots`](crate::WalkedRoots) finds them: the server
    /// must show one of them.
    ///
    /// # Errors
    /// As [`pinned_ca`](Self::pinned_ca).
    pub fn pinned_roots(
        trust_domain: TrustDomain,
        roots_sha256: &[[u8; 32]],
    ) -> Result<ClientSettings, SpiffeIdError> {
        let rule = PeerRule::one_of([trust_domain.with_path("/countersign/ca")?]);
        Ok(ClientSettings::new(Expected::Pinned(Pin::new(trust_domain, roots_sha256), rule)))
    }
}

impl ClientSettings {
    fn new(expected: Expected) -> Self {
        Self {
            expected,
            identity: None,
            provider: provider(),
            clock: Arc::new(SystemClock),
            revocation: None,
            limits: Limits::default(),
            hybrid: false,
            alpn: Vec::new(),
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }

    /// Who I am; shown when the server asks.
    #[must_use]
    pub fn identity(self, identity: Arc<OwnIdentity>) -> Self {
        Self { identity: Some(identity), ..self }
    }

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

    /// Also refuses what this list revokes; a pinned authority is not looked up.
    #[must_use]
    pub fn revocation(self, revocation: Arc<dyn Revocation>) -> Self {
        Self { revocation: Some(revocation), ..self }
    }

    /// Also refuses servers whose certificate lives longer in all, whatever their issuer allows; no limit by default.
    #[must_use]
    pub fn lifetime_limit(mut self, limit: Duration) -> Self {
        self.limits.lifetime = Some(limit);
        self
    }

    /// Also refuses servers with a key of any other kind; by default each kind that the provider verifies is good.
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

    /// The application protocols asked for, most wanted first; default none.
    #[must_use]
    pub fn alpn(self, protocols: &[&str]) -> Self {
        Self { alpn: protocols.iter().map(|name| name.as_bytes().to_vec()).collect(), ..self }
    }

    /// How long a handshake may take; default 10 s.
    #[must_use]
    pub fn handshake_timeout(self, limit: Duration) -> Self {
        Self { handshake_timeout: limit, ..self }
    }

    /// The connector.
    ///
    /// # Errors
    /// When the provider does not support TLS 1.3, or has no hybrid key exchange and one is required.
    pub fn build(self) -> Result<ClientConnector, SetupError> {
        let provider = if self.hybrid { Arc::new(hybrid_alone(&self.provider)?) } else { self.provider };
        let possession = Possession::new(&provider);
        let (trust, rule, pin) = match self.expected {
            Expected::Rule(rule, trust) => (trust, rule, None),
            Expected::Pinned(pin, rule) => (Arc::default(), rule, Some(pin)),
        };
        let mut verifier = SvidVerifier::new(provider, trust, self.clock).with_limits(self.limits);
        if let Some(list) = self.revocation {
            verifier = verifier.with_revocation(list);
        }
        let door = Arc::new(ServerDoor { verifier, rule, pin, possession });
        let identity = self.identity.map(|identity| identity as _);
        let config = crate::tls::client_config(&door.verifier, Arc::clone(&door) as _, identity, self.alpn)?;
        Ok(ClientConnector { config, door, handshake_timeout: self.handshake_timeout })
    }
}

impl ClientConnector {
    /// The settings for other TLS stacks on rustls; they refuse the same servers.
    #[must_use]
    pub const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// A watch over a live connection to this server.
    #[must_use]
    pub fn vigil(&self, server: &VerifiedPeer) -> Vigil {
        Vigil::over(&self.door.verifier, server)
    }

    /// Judges a server's certificate chain, as a handshake would.
    ///
    /// # Errors
    /// With the reason to turn the server away.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedPeer, Refusal> {
        self.door.judge(chain)
    }

    /// Completes a handshake over an open connection and says with whom.
    ///
    /// That the *server* accepted this client is known only after the first read: TLS 1.3 lets a client finish first.
    ///
    /// # Errors
    /// When the server is refused ([`ConnectError::Refused`] says why), breaks off, or takes too long.
    pub async fn connect<IO>(&self, io: IO) -> Result<(TlsStream<IO>, VerifiedPeer), ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.handshake_timeout;
        // rustls wants a name to connect to; it is neither sent (no SNI) nor compared.
        let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
        let handshake = TlsConnector::from(Arc::clone(&self.config)).connect(nobody, io);
        let (outcome, verdict) =
            timeout(limit, verdict::around(handshake)).await.map_err(|_| ConnectError::Timeout(limit))?;
        match (outcome, verdict) {
            (Ok(stream), Some(Ok(peer))) => Ok((stream, peer)),
            (_, Some(Err(refusal))) => Err(ConnectError::Refused(refusal)),
            (Ok(_), None) => Err(ConnectError::Refused(Refusal::NoCertificate)),
            (Err(fault), _) if is_hybrid_alone(self.config.crypto_provider()) && has_no_group(&fault) => {
                Err(ConnectError::Refused(Refusal::NotHybrid))
            }
            (Err(fault), _) => Err(ConnectError::Handshake(fault)),
        }
    }
}

/// Whether a server found no key exchange in common: it says so by `handshake_failure`, or by asking for another group
/// than any that was offered (RFC 8446 §4.1.1, §4.1.4).
fn has_no_group(fault: &io::Error) -> bool {
    let inner = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)
                | rustls::Error::PeerMisbehaved(
                    PeerMisbehaved::IllegalHelloRetryRequestWithUnofferedNamedGroup
                        | PeerMisbehaved::WrongGroupForKeyShare
                )
        )
    )
}

/// The verifier inside rustls for servers.
#[derive(Debug)]
struct ServerDoor {
    verifier: SvidVerifier,
    rule: PeerRule,
    pin: Option<Pin>,
    possession: Possession,
}

impl ServerDoor {
    fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedPeer, Refusal> {
        let peer = match &self.pin {
            Some(pin) => pin.verify(&self.verifier, chain),
            None => self.verifier.verify(chain, Usage::Server),
        };
        peer.and_then(|peer| self.rule.check(peer))
    }
}

impl ServerCertVerifier for ServerDoor {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let verdict = self.judge(&chain);
        outcome::authentication(&verdict, None);
        let answer = verdict.as_ref().map(|_| ServerCertVerified::assertion()).map_err(Refusal::to_tls);
        verdict::leave(verdict);
        answer
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Possession::no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.possession.check(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.possession.schemes()
    }
}

//! The verdict on a certificate chain: bundle, path, leaf rules, revocation, time.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{Clock, KeyHash, Timestamp, ValidityState};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::authority;
use crate::leaf::{Leaf, key_hash};
use crate::live::LiveSet;
use crate::peer::{ExpiredPeer, PeerFacts, VerifiedPeer};
use crate::refusal::{AuthorityRule, ChainFault, Refusal};
use crate::revocation::Revocation;
use crate::trust::{Anchors, TrustStore};

/// The most certificates read of one chain: a leaf, its issuers and the root. Honest chains here have three.
const CHAIN_LIMIT: usize = 8;

/// Which side of a connection the certificate stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It was shown by a client.
    Client,
    /// It was shown by a server.
    Server,
}

/// Judges X.509 SVIDs: whose bundle, is there a path, are the leaf rules kept, is it revoked, is it in time.
///
/// The trust domain is read from the leaf and its bundle chosen *before* any path is built, so that one domain's
/// authority can never vouch for a name of another (SPIFFE X509-SVID §5.2).
///
/// ```
/// use countersign_testkit::{Authority, noon, noon_clock};
/// use countersign_verifier::{SvidVerifier, TrustStore, Usage, provider};
/// use std::{sync::Arc, time::Duration};
///
/// let issuer = Authority::root("prod.example").issuer();
/// let trust = Arc::new(TrustStore::new([issuer.bundle()])?);
/// let verifier = SvidVerifier::new(provider(), trust, noon_clock());
///
/// let machine = issuer.leaf("spiffe://prod.example/payments").forge();
/// let peer = verifier.verify(&machine.chain(), Usage::Client)?;
/// assert_eq!(peer.spiffe_id().as_str(), "spiffe://prod.example/payments");
///
/// let late = issuer.leaf("spiffe://prod.example/payments").ends(noon() - Duration::from_secs(240)).forge();
/// let refusal = verifier.verify(&late.chain(), Usage::Client).expect_err("it has ended");
/// assert!(refusal.to_string().contains("expired 4m ago"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SvidVerifier {
    provider: Arc<CryptoProvider>,
    trust: Arc<TrustStore>,
    clock: Arc<dyn Clock>,
    revocation: Option<Arc<dyn Revocation>>,
    live: Option<Arc<dyn LiveSet>>,
}

impl SvidVerifier {
    /// A verifier of these bundles by this clock, without a revocation list.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>, trust: Arc<TrustStore>, clock: Arc<dyn Clock>) -> Self {
        Self { provider, trust, clock, revocation: None, live: None }
    }

    /// Also asks `revocation`, last of all.
    #[must_use]
    pub fn with_revocation(self, revocation: Arc<dyn Revocation>) -> Self {
        Self { revocation: Some(revocation), ..self }
    }

    /// Asks `live` first: what it knows needs no path. Every other rule stands.
    #[must_use]
    pub fn with_live_set(self, live: Arc<dyn LiveSet>) -> Self {
        Self { live: Some(live), ..self }
    }

    /// The cryptography in use.
    #[must_use]
    pub const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// The clock in use.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The bundles in use.
    #[must_use]
    pub const fn trust(&self) -> &Arc<TrustStore> {
        &self.trust
    }

    /// Judges a chain as TLS hands it over: leaf first, then what leads towards a root, in any order.
    ///
    /// # Errors
    /// With the first reason found to turn the peer away. Time comes last: [`Refusal::Expired`] and
    /// [`Refusal::NotYetValid`] mean that everything else was in order.
    pub fn verify(&self, chain: &[CertificateDer<'_>], usage: Usage) -> Result<VerifiedPeer, Refusal> {
        let (leaf_der, above) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        let end_entity = EndEntityCert::try_from(leaf_der)
            .map_err(|fault| Refusal::Malformed { what: fault.to_string() })?;
        let leaf = Leaf::read(leaf_der)?;
        if chain.len() > CHAIN_LIMIT {
            let fault = ChainFault::TooLong { found: chain.len(), limit: CHAIN_LIMIT };
            return Err(Refusal::Chain { spiffe_id: leaf.spiffe_id().clone(), fault });
        }
        let trust_domain = leaf.spiffe_id().trust_domain();
        let anchors = self
            .trust
            .get(trust_domain.as_str())
            .ok_or_else(|| Refusal::UnknownTrustDomain { trust_domain: trust_domain.clone() })?;
        let now = self.clock.now();
        let facts = match self.known(&leaf) {
            Some(issuer_key) => leaf.facts(issuer_key),
            None => {
                let path = PathCheck { verifier: self, anchors: &anchors, leaf: &leaf, usage, now };
                path.facts(&end_entity, above)?
            }
        };
        leaf.obey_rules()?;
        if self.revocation.as_ref().is_some_and(|list| list.is_revoked(&facts)) {
            return Err(Refusal::Revoked { serial: facts.serial_hex(), spiffe_id: facts.spiffe_id });
        }
        in_time(facts, now)
    }

    /// The issuer's key, if the live set knows this very certificate.
    fn known(&self, leaf: &Leaf<'_>) -> Option<KeyHash> {
        let live = self.live.as_ref()?;
        let (serial, tbs_sha256) = leaf.fingerprint()?;
        live.signed_here(serial, &tbs_sha256)
    }
}

fn in_time(facts: PeerFacts, now: Timestamp) -> Result<VerifiedPeer, Refusal> {
    match facts.validity.state(now) {
        ValidityState::Current => Ok(VerifiedPeer::assertion(facts)),
        ValidityState::Expired { by } => Err(Refusal::Expired { by, peer: ExpiredPeer::assertion(facts) }),
        ValidityState::NotYet { by } => {
            let not_before = facts.not_before();
            Err(Refusal::NotYetValid { by, not_before, spiffe_id: facts.spiffe_id })
        }
    }
}

/// One search for a path from a leaf to a root.
struct PathCheck<'a> {
    verifier: &'a SvidVerifier,
    anchors: &'a Anchors,
    leaf: &'a Leaf<'a>,
    usage: Usage,
    now: Timestamp,
}

impl PathCheck<'_> {
    fn facts(
        &self,
        end_entity: &EndEntityCert<'_>,
        above: &[CertificateDer<'_>],
    ) -> Result<PeerFacts, Refusal> {
        let usage = match self.usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        let fault = RefCell::new(None);
        let judge = |path: &VerifiedPath<'_>| {
            self.judge_authorities(path).map_err(|found| {
                *fault.borrow_mut() = Some(found);
                webpki::Error::EndEntityUsedAsCa
            })
        };
        let found = end_entity.verify_for_usage(
            self.verifier.provider.signature_verification_algorithms.all,
            self.anchors.anchors(),
            above,
            self.path_time(),
            usage,
            None,
            Some(&judge),
        );
        match found {
            Ok(path) => Ok(self.leaf.facts(key_hash(&path.issuer_spki()))),
            Err(error) => Err(self.refusal(&error, fault.into_inner())),
        }
    }

    /// A leaf out of its time is judged at its nearest good second, so that "expired" is said of none but the genuine.
    fn path_time(&self) -> UnixTime {
        let validity = self.leaf.validity();
        let at = self.now.clamp(validity.not_before(), validity.not_after());
        UnixTime::since_unix_epoch(at.since(Timestamp::from_unix(0)))
    }

    /// What path building leaves out of signing certificates; the root must also still be in its own time.
    fn judge_authorities(&self, path: &VerifiedPath<'_>) -> Result<(), ChainFault> {
        let domain = self.anchors.bundle().trust_domain();
        for intermediate in path.intermediate_certificates() {
            authority::judge(&intermediate.der(), domain).map_err(ChainFault::NotAnAuthority)?;
        }
        let root = self.anchors.validity_of(path.anchor());
        match root.map(|root| root.state(self.now)) {
            Some(ValidityState::Current) => Ok(()),
            Some(ValidityState::Expired { by }) => Err(ChainFault::Expired { by }),
            Some(ValidityState::NotYet { by }) => Err(ChainFault::NotYetValid { by }),
            None => {
                Err(ChainFault::NotAnAuthority(AuthorityRule::Malformed("it is no root held here".into())))
            }
        }
    }

    fn refusal(&self, error: &webpki::Error, own: Option<ChainFault>) -> Refusal {
        use webpki::Error as Path;
        let spiffe_id = self.leaf.spiffe_id().clone();
        let fault = match error {
            Path::UnknownIssuer => return Refusal::UnknownIssuer { spiffe_id },
            Path::InvalidSignatureForPublicKey => ChainFault::Signature,
            Path::CertExpired { time, not_after } => ChainFault::Expired { by: apart(*time, *not_after) },
            Path::CertNotValidYet { time, not_before } => {
                ChainFault::NotYetValid { by: apart(*not_before, *time) }
            }
            Path::CaUsedAsEndEntity | Path::EmptyEkuExtension | Path::RequiredEkuNotFoundContext(_) => {
                if let Err(broken) = self.leaf.obey_rules() {
                    return broken;
                }
                ChainFault::Other(error.to_string())
            }
            Path::EndEntityUsedAsCa => own.unwrap_or(ChainFault::NotAnAuthority(AuthorityRule::NotCa)),
            other => ChainFault::Other(other.to_string()),
        };
        Refusal::Chain { spiffe_id, fault }
    }
}

fn apart(later: UnixTime, earlier: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

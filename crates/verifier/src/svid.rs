//! The verdict on a certificate chain: bundle, path, leaf rules, revocation, time.

use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{Clock, KeyHash, SpiffeId, Timestamp, ValidityState};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::authority::Rules;
use crate::known_paths::{KnownPaths, Presentation};
use crate::leaf::Leaf;
use crate::limit::{KeyKind, Limits};
use crate::live::LiveSet;
use crate::path::{PathFault, PathSearch, unix};
use crate::peer::{ExpiredPeer, PeerFacts, VerifiedPeer};
use crate::refusal::{ChainFault, Refusal};
use crate::revocation::Revocation;
use crate::trust::{Anchors, TrustStore};

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
    depth: Option<usize>,
    limits: Limits,
    paths: Arc<KnownPaths>,
}

impl SvidVerifier {
    /// A verifier of these bundles by this clock, without a revocation list.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>, trust: Arc<TrustStore>, clock: Arc<dyn Clock>) -> Self {
        Self {
            provider,
            trust,
            clock,
            revocation: None,
            live: None,
            depth: None,
            limits: Limits::default(),
            paths: Arc::default(),
        }
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

    /// Also refuses paths with more than `limit` signing certificates between leaf and root, self-issued ones not
    /// counted. Without it, rustls-webpki ends at six.
    #[must_use]
    pub fn with_depth_limit(self, limit: usize) -> Self {
        // What was found without the limit may break it.
        Self { depth: Some(limit), paths: Arc::default(), ..self }
    }

    /// Also refuses certificates whose whole life is longer: a stolen key works no longer than that.
    #[must_use]
    pub fn with_lifetime_limit(mut self, limit: Duration) -> Self {
        self.limits.lifetime = Some(limit);
        self
    }

    /// Also refuses certificates with keys of any other kind. An empty list refuses everybody.
    #[must_use]
    pub fn with_key_kinds(mut self, kinds: &[KeyKind]) -> Self {
        self.limits.key_kinds = Some(kinds.to_vec());
        self
    }

    /// The same judgement by other bundles, and without lists that know nothing of them.
    pub(crate) fn believing(&self, trust: Arc<TrustStore>) -> Self {
        let limits = self.limits.clone();
        Self::new(Arc::clone(&self.provider), trust, Arc::clone(&self.clock)).with_limits(limits)
    }

    pub(crate) fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
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
        let leaf = Leaf::read(leaf_der)?;
        let now = self.clock.now();
        let anchors = self.fresh_anchors(leaf.spiffe_id(), now)?;
        let search = PathSearch {
            provider: &self.provider,
            roots: anchors.roots(),
            rules: Rules::Svid(anchors.bundle().trust_domain()),
            usage,
            now,
            depth: self.depth,
            revocation: self.revocation.as_deref(),
        };
        let issuer_key = match self.known(&leaf) {
            Some(issuer_key) => issuer_key,
            None => {
                self.issuer(&search, &anchors, &leaf, above).map_err(|fault| self.refusal(&leaf, fault))?
            }
        };
        leaf.obey_rules(&self.provider)?;
        let within = self.limits.judge(leaf.certificate());
        within.map_err(|fault| Refusal::Limit { spiffe_id: leaf.spiffe_id().clone(), fault })?;
        let facts = leaf.facts(issuer_key);
        self.is_not_revoked(&facts, search.stands(leaf.certificate(), issuer_key))?;
        anchors.is_not_revoked(&facts, now)?;
        in_time(facts, now)
    }

    /// Judges a peer of a live connection again: by what can have changed since its handshake.
    ///
    /// Its signatures are what they were. Asked is whether its trust domain is still trusted and its trust young
    /// enough, its issuer still listed, its certificate not revoked, and in time.
    ///
    /// # Errors
    /// With the reason to part from it.
    pub fn still_stands(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        let now = self.clock.now();
        let anchors = self.fresh_anchors(peer.spiffe_id(), now)?;
        let spiffe_id = || peer.spiffe_id().clone();
        anchors
            .is_listed(peer.issuer_key(), now)
            .map_err(|fault| Refusal::Chain { spiffe_id: spiffe_id(), fault })?;
        self.is_not_revoked(peer, Ok(()))?;
        anchors.is_not_revoked(peer, now)?;
        match peer.validity().state(now) {
            ValidityState::Expired { by } => Err(Refusal::Expired { by, peer: peer.expired() }),
            // A clock set back takes nobody's proof away.
            ValidityState::Current | ValidityState::NotYet { .. } => Ok(()),
        }
    }

    /// What there is to judge an identity by, if its trust domain is trusted and that trust young enough.
    fn fresh_anchors(&self, spiffe_id: &SpiffeId, now: Timestamp) -> Result<Arc<Anchors>, Refusal> {
        let trust_domain = spiffe_id.trust_domain();
        let anchors = self.trust.get(trust_domain.as_str());
        let anchors = anchors.ok_or(Refusal::UnknownTrustDomain { trust_domain })?;
        anchors.is_fresh(now)?;
        Ok(anchors)
    }

    /// The key of a leaf's issuer: by one signature where a snapshot lists its issuer, by a whole path elsewhere, and by none where that
    /// path was found before.
    fn issuer(
        &self,
        search: &PathSearch<'_>,
        anchors: &Arc<Anchors>,
        leaf: &Leaf<'_>,
        above: &[CertificateDer<'_>],
    ) -> Result<KeyHash, PathFault> {
        let (now, at) = (search.now, path_time(leaf, search.now));
        if let Some(roots) = anchors.issuers() {
            // Nothing may stand between a listed issuer and a leaf.
            match (PathSearch { roots, ..*search }).find(leaf.der(), &[], at) {
                Err(PathFault::UnknownIssuer) => {}
                verdict => return verdict,
            }
        }
        let presented = Presentation::of(leaf.der(), above, search.usage);
        let issuer_key = match self.paths.get(&presented, anchors, now) {
            Some(path) => {
                search.still_stands(&path)?;
                path.issuer_key
            }
            None => {
                let path = search.find_path(leaf.der(), above, at)?;
                let issuer_key = path.issuer_key;
                self.paths.put(presented, path, anchors, now);
                issuer_key
            }
        };
        anchors.is_listed(issuer_key, now)?;
        Ok(issuer_key)
    }

    fn is_not_revoked(&self, facts: &PeerFacts, standing: Result<(), ChainFault>) -> Result<(), Refusal> {
        let spiffe_id = || facts.spiffe_id.clone();
        let revoked = || Refusal::Revoked { serial: facts.serial_hex(), spiffe_id: spiffe_id() };
        match standing {
            Err(ChainFault::Revoked { .. }) => Err(revoked()),
            Err(fault) => Err(Refusal::Chain { spiffe_id: spiffe_id(), fault }),
            Ok(()) if self.revocation.as_ref().is_some_and(|list| list.is_revoked(facts)) => Err(revoked()),
            Ok(()) => Ok(()),
        }
    }

    fn refusal(&self, leaf: &Leaf<'_>, fault: PathFault) -> Refusal {
        let spiffe_id = leaf.spiffe_id().clone();
        match fault {
            PathFault::Malformed { what } => Refusal::Malformed { what },
            PathFault::UnknownIssuer => Refusal::UnknownIssuer { spiffe_id },
            PathFault::Fault(fault) => Refusal::Chain { spiffe_id, fault },
            PathFault::Purpose { what } => match leaf.obey_rules(&self.provider) {
                Err(broken) => broken,
                Ok(()) => Refusal::Chain { spiffe_id, fault: ChainFault::Other(what) },
            },
        }
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

/// A leaf out of its time is judged at its nearest good second, so that "expired" is said of none but the genuine.
fn path_time(leaf: &Leaf<'_>, now: Timestamp) -> UnixTime {
    let validity = leaf.validity();
    unix(now.clamp(validity.not_before(), validity.not_after()))
}

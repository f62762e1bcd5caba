//! The trust bundles a verifier holds, one per trust domain, replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_identity::{KeyHash, Timestamp, TrustBundle, TrustDomain, Validity};
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::authority::{self, Rules};
use crate::certificate::Certificate;
use crate::path::in_time;
use crate::peer::PeerFacts;
use crate::profile::Place;
use crate::refusal::{AuthorityRule, ChainFault, Refusal};
use crate::snapshot::Snapshot;
use crate::staleness::HardLimit;
use tokio::sync::watch;

/// The roots this verifier believes, by trust domain.
///
/// Readers take no lock: a replaced bundle is a new value that later verdicts see and earlier ones do not. A snapshot
/// brings its roots, its issuers and what it revokes in one step.
#[derive(Debug)]
pub struct TrustStore {
    held: ArcSwap<BTreeMap<Arc<str>, Arc<Anchors>>>,
    /// Says to live connections that something changed.
    changes: watch::Sender<()>,
}

/// One bundle, read and judged.
#[derive(Debug)]
pub struct Anchors {
    bundle: TrustBundle,
    roots: Roots,
    snapshot: Option<Adopted>,
}

/// A snapshot in force.
#[derive(Debug)]
struct Adopted {
    snapshot: Snapshot,
    /// The last second in which anybody is let in by it.
    until: Timestamp,
}

/// Roots, whoever they are of.
#[derive(Debug)]
pub(crate) struct Roots {
    held: Vec<Root>,
    anchors: Vec<TrustAnchor<'static>>,
}

#[derive(Debug)]
struct Root {
    der: CertificateDer<'static>,
    validity: Validity,
}

/// Why a bundle cannot be trusted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// One of its roots is no signing certificate.
    #[error("root {number} of trust domain {trust_domain} may not sign: {rule}")]
    NotARoot {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// Which of its roots, counted from 1.
        number: usize,
        /// The broken rule.
        rule: AuthorityRule,
    },
    /// Two bundles for one trust domain (SPIFFE Trust Domain and Bundle §4: never merged).
    #[error("trust domain {trust_domain} comes with two bundles, expected one")]
    Twice {
        /// Whose.
        trust_domain: TrustDomain,
    },
}

impl TrustStore {
    /// A store of these bundles, each for its own trust domain.
    ///
    /// # Errors
    /// When a root may not sign certificates, or a trust domain comes twice.
    pub fn new(bundles: impl IntoIterator<Item = TrustBundle>) -> Result<Self, TrustError> {
        let mut held = BTreeMap::new();
        for bundle in bundles {
            let trust_domain = bundle.trust_domain().clone();
            let anchors = Arc::new(Anchors::read(bundle)?);
            if held.insert(Arc::from(trust_domain.as_str()), anchors).is_some() {
                return Err(TrustError::Twice { trust_domain });
            }
        }
        Ok(Self { held: ArcSwap::from_pointee(held), ..Self::default() })
    }

    /// Puts a snapshot in the place of what is held for its trust domain: from now on only the issuers it lists count,
    /// nobody it revokes is let in, and past `limit` nobody at all.
    ///
    /// # Errors
    /// When a root may not sign certificates; what was held stays.
    pub fn adopt(&self, snapshot: &Snapshot, limit: HardLimit) -> Result<(), TrustError> {
        let until = limit.end(snapshot.issued());
        let adopted = Adopted { snapshot: snapshot.clone(), until };
        self.put(Anchors { snapshot: Some(adopted), ..Anchors::read(snapshot.bundle())? });
        Ok(())
    }

    /// Puts a bundle in the place of the one held for its trust domain, if any. An empty bundle trusts nobody.
    ///
    /// # Errors
    /// When a root may not sign certificates; what was held stays.
    pub fn replace(&self, bundle: TrustBundle) -> Result<(), TrustError> {
        self.put(Anchors::read(bundle)?);
        Ok(())
    }

    fn put(&self, anchors: Anchors) {
        let anchors = Arc::new(anchors);
        self.held.rcu(|held| {
            let mut next = BTreeMap::clone(held);
            next.insert(Arc::from(anchors.bundle.trust_domain().as_str()), Arc::clone(&anchors));
            next
        });
        self.changes.send_replace(());
    }

    /// Stops trusting a trust domain altogether.
    pub fn remove(&self, trust_domain: &TrustDomain) {
        self.held.rcu(|held| {
            let mut next = BTreeMap::clone(held);
            next.remove(trust_domain.as_str());
            next
        });
        self.changes.send_replace(());
    }

    /// The roots held for a trust domain.
    #[must_use]
    pub fn get(&self, trust_domain: &str) -> Option<Arc<Anchors>> {
        self.held.load().get(trust_domain).map(Arc::clone)
    }

    /// Wakes whoever waits at each change.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

impl Default for TrustStore {
    /// Trusts nobody.
    fn default() -> Self {
        Self { held: ArcSwap::default(), changes: watch::Sender::new(()) }
    }
}

impl Anchors {
    fn read(bundle: TrustBundle) -> Result<Self, TrustError> {
        let domain = bundle.trust_domain();
        let octets = bundle.roots().iter().map(Vec::as_slice);
        let roots = Roots::read(octets, Rules::Svid(domain))
            .map_err(|(number, rule)| TrustError::NotARoot { trust_domain: domain.clone(), number, rule })?;
        Ok(Self { bundle, roots, snapshot: None })
    }

    /// The bundle as it was given.
    #[must_use]
    pub const fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// The certificates of the roots.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.held.iter().map(|root| &root.der)
    }

    pub(crate) const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The snapshot in force, where it is not a bundle alone.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref().map(|adopted| &adopted.snapshot)
    }

    /// The issuers as anchors, where a snapshot lists them.
    pub(crate) fn issuers(&self) -> Option<&Roots> {
        self.snapshot().and_then(Snapshot::anchors)
    }

    /// Whether the snapshot, if there is one, is young enough to let anybody in.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> Result<(), Refusal> {
        let Some(Adopted { snapshot, until }) = &self.snapshot else { return Ok(()) };
        if now <= *until {
            return Ok(());
        }
        let (trust_domain, issued) = (self.bundle.trust_domain().clone(), snapshot.issued());
        Err(Refusal::Stale { trust_domain, issued, age: now.since(issued) })
    }

    /// Whether the snapshot, if there is one, revokes a certificate.
    pub(crate) fn is_not_revoked(&self, facts: &PeerFacts, now: Timestamp) -> Result<(), Refusal> {
        if self.snapshot().is_some_and(|snapshot| snapshot.revokes(facts, now)) {
            let (spiffe_id, serial) = (facts.spiffe_id().clone(), facts.serial_hex());
            return Err(Refusal::Revoked { spiffe_id, serial });
        }
        Ok(())
    }

    /// Whether the snapshot, if there is one, lists the issuer with this key, and it is in its time.
    pub(crate) fn is_listed(&self, issuer_key: KeyHash, now: Timestamp) -> Result<(), ChainFault> {
        let Some(snapshot) = self.snapshot() else { return Ok(()) };
        let validity = snapshot.issuer_validity(issuer_key).ok_or(ChainFault::IssuerNotListed)?;
        in_time(validity.state(now))
    }
}

impl Roots {
    /// Reads and judges roots; of the first that is none, which it is, counted from 1, and why.
    pub(crate) fn read<'a>(
        roots: impl Iterator<Item = &'a [u8]>,
        rules: Rules<'_>,
    ) -> Result<Self, (usize, AuthorityRule)> {
        let mut held = Vec::new();
        let mut anchors = Vec::new();
        for (at, octets) in roots.enumerate() {
            let (root, anchor) = Root::read(octets, rules).map_err(|rule| (at.saturating_add(1), rule))?;
            held.push(root);
            anchors.push(anchor);
        }
        Ok(Self { held, anchors })
    }

    /// Certificates that were judged, each with the time in which it counts.
    pub(crate) fn anchored(
        judged: impl IntoIterator<Item = (CertificateDer<'static>, Validity)>,
    ) -> Result<Self, AuthorityRule> {
        let (mut held, mut anchors) = (Vec::new(), Vec::new());
        for (der, validity) in judged {
            anchors.push(anchor(&der)?);
            held.push(Root { der, validity });
        }
        Ok(Self { held, anchors })
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// From when to when the root behind an anchor counts, if it is one held here. The same key under the same name may stand there twice,
    /// renewed: the longer life counts.
    pub(crate) fn validity(&self, anchor: &TrustAnchor<'_>) -> Option<Validity> {
        let found = self.anchors.iter().zip(&self.held).filter(|(held, _)| *held == anchor);
        found.map(|(_, root)| root.validity).max_by_key(Validity::not_after)
    }

    /// Whether the root behind an anchor is in its time; path building does not look.
    pub(crate) fn judge(&self, anchor: &TrustAnchor<'_>, now: Timestamp) -> Result<(), ChainFault> {
        match self.validity(anchor) {
            Some(validity) => in_time(validity.state(now)),
            None => {
                let what = "it is no root held here".to_owned();
                Err(ChainFault::NotAnAuthority(AuthorityRule::Malformed(what)))
            }
        }
    }
}

impl Root {
    fn read(octets: &[u8], rules: Rules<'_>) -> Result<(Self, TrustAnchor<'static>), AuthorityRule> {
        let certificate = Certificate::read(octets).map_err(AuthorityRule::Malformed)?;
        authority::judge(&certificate, Place::Root, rules)?;
        let der = CertificateDer::from(octets.to_vec());
        let anchor = anchor(&der)?;
        Ok((Self { validity: certificate.validity, der }, anchor))
    }
}

fn anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, AuthorityRule> {
    let anchor = webpki::anchor_from_trusted_cert(der);
    anchor.map(|anchor| anchor.to_owned()).map_err(|fault| AuthorityRule::Malformed(fault.to_string()))
}

//! The trust bundles a verifier holds, one per trust domain, replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_identity::{Timestamp, TrustBundle, TrustDomain, Validity};
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::authority::{self, Rules};
use crate::certificate::Certificate;
use crate::path::in_time;
use crate::profile::Place;
use crate::refusal::{AuthorityRule, ChainFault};

/// The roots this verifier believes, by trust domain.
///
/// Readers take no lock: a replaced bundle is a new value that later verdicts see and earlier ones do not.
#[derive(Debug, Default)]
pub struct TrustStore {
    held: ArcSwap<BTreeMap<Arc<str>, Arc<Anchors>>>,
}

/// One bundle, read and judged.
#[derive(Debug)]
pub struct Anchors {
    bundle: TrustBundle,
    roots: Roots,
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
        Ok(Self { held: ArcSwap::from_pointee(held) })
    }

    /// Puts a bundle in the place of the one held for its trust domain, if any. An empty bundle trusts nobody.
    ///
    /// # Errors
    /// When a root may not sign certificates; what was held stays.
    pub fn replace(&self, bundle: TrustBundle) -> Result<(), TrustError> {
        let anchors = Arc::new(Anchors::read(bundle)?);
        self.held.rcu(|held| {
            let mut next = BTreeMap::clone(held);
            next.insert(Arc::from(anchors.bundle.trust_domain().as_str()), Arc::clone(&anchors));
            next
        });
        Ok(())
    }

    /// Stops trusting a trust domain altogether.
    pub fn remove(&self, trust_domain: &TrustDomain) {
        self.held.rcu(|held| {
            let mut next = BTreeMap::clone(held);
            next.remove(trust_domain.as_str());
            next
        });
    }

    /// The roots held for a trust domain.
    #[must_use]
    pub fn get(&self, trust_domain: &str) -> Option<Arc<Anchors>> {
        self.held.load().get(trust_domain).map(Arc::clone)
    }
}

impl Anchors {
    fn read(bundle: TrustBundle) -> Result<Self, TrustError> {
        let domain = bundle.trust_domain();
        let octets = bundle.roots().iter().map(Vec::as_slice);
        let roots = Roots::read(octets, Rules::Svid(domain))
            .map_err(|(number, rule)| TrustError::NotARoot { trust_domain: domain.clone(), number, rule })?;
        Ok(Self { bundle, roots })
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

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Whether the root behind an anchor is in its time; path building does not look.
    pub(crate) fn judge(&self, anchor: &TrustAnchor<'_>, now: Timestamp) -> Result<(), ChainFault> {
        // The same key under the same name may stand there twice, renewed: the longer life counts.
        let found = self.anchors.iter().zip(&self.held).filter(|(held, _)| *held == anchor);
        match found.map(|(_, root)| root.validity).max_by_key(Validity::not_after) {
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
        let anchor = webpki::anchor_from_trusted_cert(&der)
            .map_err(|fault| AuthorityRule::Malformed(fault.to_string()))?
            .to_owned();
        Ok((Self { validity: certificate.validity, der }, anchor))
    }
}

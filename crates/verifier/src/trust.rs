//! The trust bundles a verifier holds, one per trust domain, replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_identity::{TrustBundle, TrustDomain, Validity};
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::authority;
use crate::refusal::AuthorityRule;

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
    roots: Vec<Root>,
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
        let mut roots = Vec::new();
        let mut anchors = Vec::new();
        for (at, der) in bundle.roots().iter().enumerate() {
            let der = CertificateDer::from(der.clone());
            let not_a_root = |rule| TrustError::NotARoot {
                trust_domain: domain.clone(),
                number: at.saturating_add(1),
                rule,
            };
            let validity = authority::judge(&der, domain).map_err(not_a_root)?;
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|fault| not_a_root(AuthorityRule::Malformed(fault.to_string())))?
                .to_owned();
            anchors.push(anchor);
            roots.push(Root { der, validity });
        }
        Ok(Self { bundle, roots, anchors })
    }

    /// The bundle as it was given.
    #[must_use]
    pub const fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// The certificates of the roots.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().map(|root| &root.der)
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The times of the root behind an anchor; path building does not look at them.
    pub(crate) fn validity_of(&self, anchor: &TrustAnchor<'_>) -> Option<Validity> {
        let same = |held: &&TrustAnchor<'_>| {
            held.subject == anchor.subject && held.subject_public_key_info == anchor.subject_public_key_info
        };
        // The same key under the same name may stand there twice, renewed: the longer life counts.
        let found = self.anchors.iter().zip(&self.roots).filter(|(held, _)| same(held));
        found.map(|(_, root)| root.validity).max_by_key(Validity::not_after)
    }
}

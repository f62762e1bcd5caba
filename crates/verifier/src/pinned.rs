//! The pinned certificate authority: first contact by the SHA-256 of its root, and nothing else to go by.

use countersign_identity::{TrustBundle, TrustDomain, hex};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::sync::Arc;

use crate::peer::VerifiedPeer;
use crate::refusal::{ChainFault, Refusal};
use crate::svid::{SvidVerifier, Usage};
use crate::trust::{TrustError, TrustStore};

/// Roots known by their fingerprints, and the trust domain they are believed for.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    trust_domain: TrustDomain,
    roots: Vec<[u8; 32]>,
}

impl Pin {
    pub(crate) fn new(trust_domain: TrustDomain, roots: &[[u8; 32]]) -> Self {
        Self { trust_domain, roots: roots.to_vec() }
    }

    /// Finds a pinned root in the chain and judges the chain by a bundle of that root alone.
    pub(crate) fn verify(
        &self,
        base: &SvidVerifier,
        chain: &[CertificateDer<'_>],
    ) -> Result<VerifiedPeer, Refusal> {
        // The pin fixes every bit of the root, so its own signature proves nothing more; that it may sign at all, and
        // is in its time, is judged like any root's.
        let pinned = |der: &&CertificateDer<'_>| self.roots.contains(&fingerprint(der));
        let above = chain.get(1..).unwrap_or_default();
        let root = above.iter().find(pinned).ok_or_else(|| {
            let expected: Vec<_> = self.roots.iter().map(|root| hex::encode(root)).collect();
            Refusal::NotPinned { expected: expected.join(", "), found: above.last().map(fingerprint) }
        })?;
        let bundle = TrustBundle::new(self.trust_domain.clone(), vec![root.to_vec()]);
        let trust = TrustStore::new([bundle]).map_err(|fault| self.not_a_root(fault))?;
        base.believing(Arc::new(trust)).verify(chain, Usage::Server)
    }

    fn not_a_root(&self, fault: TrustError) -> Refusal {
        match fault {
            TrustError::NotARoot { rule, .. } => Refusal::Chain {
                spiffe_id: (&self.trust_domain).into(),
                fault: ChainFault::NotAnAuthority(rule),
            },
            TrustError::Twice { trust_domain } => Refusal::UnknownTrustDomain { trust_domain },
        }
    }
}

fn fingerprint(der: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(der).into()
}

//! Roots documents by themselves: for who holds a pinned root and no trust snapshot, as a machine does.

use countersign_identity::{TrustBundle, TrustDomain};
use rustls::crypto::CryptoProvider;
use serde::Deserialize as _;
use serde_json::Value;

use super::fault::RootsFault;
use super::roots::{KnownRoots, Walker};
use crate::jws::General;

/// The roots of a trust domain as its roots documents say. Every document after these must lead on from them: roots are
/// added and taken away by roots, and never come back.
///
/// Nothing here reads a clock, a file or the network; who keeps the documents can walk them again after a restart.
///
/// ```
/// use countersign_testkit::{Authority, roots_document};
/// use countersign_verifier::{RootsFault, WalkedRoots, provider};
/// use sha2::{Digest as _, Sha256};
///
/// let (old, new) = (Authority::root("prod.example"), Authority::root("prod.example"));
/// let first = roots_document(1, &[&old], None, &[&old]);
/// let second = roots_document(2, &[&old, &new], Some(&first), &[&old, &new]);
/// let pin = Sha256::digest(old.certificate()).into();
///
/// let domain = "prod.example".parse()?;
/// let walked = WalkedRoots::from_pin(&domain, pin, &[first.clone(), second], &provider())?;
/// assert_eq!((walked.version(), walked.bundle().roots().len()), (2, 2));
/// let back = walked.walk(&[first], &provider()).expect_err("roots never go back");
/// assert_eq!(back, RootsFault::Older { found: 1, held: 2 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedRoots {
    trust_domain: TrustDomain,
    roots: KnownRoots,
}

impl WalkedRoots {
    /// Walks `documents`, oldest first, from the root whose certificate has this SHA-256.
    ///
    /// # Errors
    /// When they do not lead on from that root, with the first reason.
    pub fn from_pin(
        trust_domain: &TrustDomain,
        root_sha256: [u8; 32],
        documents: &[Value],
        provider: &CryptoProvider,
    ) -> Result<Self, RootsFault> {
        let roots = KnownRoots::pinned(root_sha256, &read(documents)?, walker(trust_domain, provider))?;
        Ok(Self { trust_domain: trust_domain.clone(), roots })
    }

    /// Walks on by `documents`, oldest first; those that were walked before may be among them.
    ///
    /// # Errors
    /// When they do not lead on from these roots, with the first reason.
    pub fn walk(&self, documents: &[Value], provider: &CryptoProvider) -> Result<Self, RootsFault> {
        let roots = self.roots.walk(&read(documents)?, walker(&self.trust_domain, provider))?;
        Ok(Self { trust_domain: self.trust_domain.clone(), roots })
    }

    /// The version of the last document walked.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.roots.version().unwrap_or_default()
    }

    /// The roots.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        let roots = self.roots.ders().to_vec();
        TrustBundle::new(self.trust_domain.clone(), roots).with_sequence(self.version())
    }
}

fn walker<'a>(trust_domain: &'a TrustDomain, provider: &'a CryptoProvider) -> Walker<'a> {
    Walker { trust_domain, known: provider.signature_verification_algorithms.all }
}

fn read(documents: &[Value]) -> Result<Vec<General>, RootsFault> {
    let read = |(at, document): (usize, &Value)| {
        let malformed =
            |fault: serde_json::Error| RootsFault::Malformed { number: at + 1, what: fault.to_string() };
        General::deserialize(document).map_err(malformed)
    };
    documents.iter().enumerate().map(read).collect()
}

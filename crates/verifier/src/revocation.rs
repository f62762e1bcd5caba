//! Revocation as the verifier asks for it.

use arc_swap::ArcSwap;
use countersign_identity::{KeyHash, Timestamp, hex};

use crate::certificate::Certificate;
use crate::peer::PeerFacts;

/// Answers whether a certificate, good in everything else, was revoked.
///
/// Asked once per handshake, after path and leaf rules hold; the answer must come from memory.
pub trait Revocation: Send + Sync + std::fmt::Debug {
    /// Whether the holder of this certificate must be refused.
    fn is_revoked(&self, facts: &PeerFacts) -> bool;

    /// How any certificate of a path stands, leaf or authority, by its issuer and serial number.
    fn standing(&self, _certificate: &Inquiry<'_>) -> Standing {
        Standing::Good
    }
}

/// How a certificate stands with its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is held against it.
    Good,
    /// It was revoked.
    Revoked,
    /// Nobody can tell, and somebody must.
    Unknown,
}

/// The certificate a revocation list is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    pub(crate) certificate: &'a Certificate<'a>,
    pub(crate) issuer_key: KeyHash,
    pub(crate) now: Timestamp,
}

impl Inquiry<'_> {
    /// SHA-256 of the public key that signed it.
    #[must_use]
    pub const fn issuer_key(&self) -> KeyHash {
        self.issuer_key
    }

    /// Its serial number as it stands there.
    #[must_use]
    pub const fn serial_octets(&self) -> &[u8] {
        self.certificate.serial
    }

    /// Whether it may sign certificates itself.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.certificate.is_ca()
    }

    /// When.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn serial_hex(&self) -> String {
        hex::encode(self.certificate.serial)
    }
}

/// A list that is replaced whole while verifiers ask it.
impl<R: Revocation> Revocation for ArcSwap<R> {
    fn is_revoked(&self, facts: &PeerFacts) -> bool {
        self.load().is_revoked(facts)
    }

    fn standing(&self, certificate: &Inquiry<'_>) -> Standing {
        self.load().standing(certificate)
    }
}

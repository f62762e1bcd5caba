//! What is known of a peer whose certificate was judged.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use countersign_identity::{KeyHash, Lineage, Serial, SpiffeId, Timestamp, Validity, hex};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

/// A peer proven to be who its certificate says: path, leaf rules, time and revocation were checked.
///
/// Only a verifier makes one; code that has none cannot call what needs one. Cloning shares the facts.
///
/// ```compile_fail
/// let forged = countersign_verifier::VerifiedPeer(todo!());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedPeer(Arc<PeerFacts>);

/// A peer whose certificate is good in everything but that it has ended.
///
/// It grants nothing; a certificate authority may let it come back.
#[derive(Clone, PartialEq, Eq)]
pub struct ExpiredPeer(Arc<PeerFacts>);

/// What a certificate says, read once per connection.
pub struct PeerFacts {
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) serial: Vec<u8>,
    pub(crate) lineage: Option<Lineage>,
    pub(crate) validity: Validity,
    pub(crate) key_hash: KeyHash,
    pub(crate) issuer_key: KeyHash,
    /// Made when it is first asked for: most handshakes never do.
    pub(crate) thumbprint: OnceLock<[u8; 32]>,
    pub(crate) der: CertificateDer<'static>,
}

/// All else is read from the certificate and the key that signed it.
impl PartialEq for PeerFacts {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der && self.issuer_key == other.issuer_key
    }
}

impl Eq for PeerFacts {}

impl PeerFacts {
    /// Who it is.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The serial number where it has the form Countersign gives (at most 18 octets); foreign issuers use up to 20.
    #[must_use]
    pub fn serial(&self) -> Option<Serial> {
        Serial::from_be_bytes(&self.serial).ok()
    }

    /// The serial number as it stands in the certificate.
    #[must_use]
    pub fn serial_octets(&self) -> &[u8] {
        &self.serial
    }

    /// The lineage in the subject; to be believed only under our own issuers.
    #[must_use]
    pub const fn lineage(&self) -> Option<Lineage> {
        self.lineage
    }

    /// From when to when, both seconds inclusive.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The first second it is valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.validity.not_before()
    }

    /// The last second it is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.validity.not_after()
    }

    /// SHA-256 of its public key (SubjectPublicKeyInfo).
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// SHA-256 of the public key that signed it.
    #[must_use]
    pub const fn issuer_key(&self) -> KeyHash {
        self.issuer_key
    }

    /// SHA-256 of the whole certificate, what RFC 8705 calls `x5t#S256`.
    #[must_use]
    pub fn thumbprint(&self) -> &[u8; 32] {
        self.thumbprint.get_or_init(|| Sha256::digest(&self.der).into())
    }

    /// The certificate itself.
    #[must_use]
    pub const fn leaf_der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The serial in hex, as openssl prints it but in lower case.
    #[must_use]
    pub fn serial_hex(&self) -> String {
        self.serial().map_or_else(|| hex::encode(&self.serial), |serial| serial.to_string())
    }
}

impl fmt::Debug for PeerFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerFacts")
            .field("spiffe_id", &self.spiffe_id)
            .field("serial", &self.serial_hex())
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl VerifiedPeer {
    /// The one constructor: one search for it lists every place that vouches for a peer.
    pub(crate) fn assertion(facts: PeerFacts) -> Self {
        Self(Arc::new(facts))
    }

    /// The same peer once its certificate has ended.
    pub(crate) fn expired(&self) -> ExpiredPeer {
        ExpiredPeer(Arc::clone(&self.0))
    }
}

impl ExpiredPeer {
    /// The one constructor.
    pub(crate) fn assertion(facts: PeerFacts) -> Self {
        Self(Arc::new(facts))
    }
}

impl Deref for VerifiedPeer {
    type Target = PeerFacts;
    fn deref(&self) -> &PeerFacts {
        &self.0
    }
}

impl Deref for ExpiredPeer {
    type Target = PeerFacts;
    fn deref(&self) -> &PeerFacts {
        &self.0
    }
}

impl fmt::Debug for VerifiedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifiedPeer").field(&self.0).finish()
    }
}

impl fmt::Debug for ExpiredPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExpiredPeer").field(&self.0).finish()
    }
}

//! The door to the pen: whatever holds an issuer's key

use std::fmt;
use std::pin::Pin;

use thiserror::Error;

use crate::der::{Writer, oid};
use crate::key::KeyKind;

/// A future behind a pointer, so that the doors can be used as trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Holds one private key and signs with it. A key in an HSM may answer slowly: `sign` must wait, not block.
///
/// A signer never decides anything; what reaches it has been approved and, for certificates of workloads, recorded.
pub trait Signer: Send + Sync {
    /// The SubjectPublicKeyInfo (DER) of the key that signs.
    fn public_key(&self) -> &[u8];

    /// The algorithm it signs with.
    fn algorithm(&self) -> SigningAlgorithm;

    /// Signs `tbs`. ECDSA signatures are DER (`Ecdsa-Sig-Value`), Ed25519 ones their 64 octets.
    fn sign<'a>(&'a self, tbs: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>>;
}

/// How an issuer signs; its key's kind decides it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 over SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 over SHA-384.
    EcdsaP384Sha384,
    /// Ed25519 (RFC 8410).
    Ed25519,
}

impl SigningAlgorithm {
    /// The algorithm that fits a key of this kind.
    #[must_use]
    pub const fn of(kind: KeyKind) -> Self {
        match kind {
            KeyKind::P256 => SigningAlgorithm::EcdsaP256Sha256,
            KeyKind::P384 => SigningAlgorithm::EcdsaP384Sha384,
            KeyKind::Ed25519 => SigningAlgorithm::Ed25519,
        }
    }

    /// The AlgorithmIdentifier (DER); its parameters are absent (RFC 5758 §3.2, RFC 8410 §3).
    #[must_use]
    pub fn identifier(self) -> Vec<u8> {
        let mut w = Writer::default();
        w.sequence(|w| w.oid(self.oid()));
        w.into_bytes()
    }

    /// The content octets of the algorithm's object identifier.
    pub(crate) const fn oid(self) -> &'static [u8] {
        match self {
            SigningAlgorithm::EcdsaP256Sha256 => oid::ECDSA_SHA256,
            SigningAlgorithm::EcdsaP384Sha384 => oid::ECDSA_SHA384,
            SigningAlgorithm::Ed25519 => oid::ED25519,
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SigningAlgorithm::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
            SigningAlgorithm::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
            SigningAlgorithm::Ed25519 => "Ed25519",
        })
    }
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignerError {
    /// The signer's key is not the one the certificate names as its issuer's.
    #[error("the signer holds another key than the issuer named in the bytes to be signed")]
    WrongKey,
    /// The signer signs with another algorithm than the recorded bytes state.
    #[error("the signer signs with {found}, the recorded bytes state {expected}")]
    WrongAlgorithm {
        /// What the signer says it uses.
        found: SigningAlgorithm,
        /// What the bytes to be signed say.
        expected: SigningAlgorithm,
    },
    /// What came back is no signature of that algorithm.
    #[error("the signer returned {found} bytes that are no {expected} signature")]
    Malformed {
        /// How many bytes came back.
        found: usize,
        /// The algorithm they should belong to.
        expected: SigningAlgorithm,
    },
    /// The key cannot be reached or refuses to sign.
    #[error("the signer cannot sign: {why}")]
    Unavailable {
        /// What the signer said.
        why: String,
    },
}

//! The key hash: a public key, named by its digest.

use crate::hex::{self, HexError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// SHA-256 of the DER of a SubjectPublicKeyInfo, algorithm and all (RFC 5280 §4.1.2.7). Callers compute the digest.
///
/// ```
/// use countersign_identity::KeyHash;
///
/// let hash = KeyHash::from_bytes([0x0f; 32]);
/// assert_eq!(hash.to_string(), "0f".repeat(32));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

/// Why a text is not a key hash.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a key hash is 64 lower-case hex digits: {0}")]
pub struct KeyHashError(#[from] HexError);

impl KeyHash {
    /// Takes the digest.
    #[must_use]
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(hex::decode_exact(text)?))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

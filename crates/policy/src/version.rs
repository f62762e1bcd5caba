//! The version of a policy: the digest of its text.

use countersign_identity::hex;
use sha2::{Digest, Sha256};
use std::fmt;

/// SHA-256 of the policy's text, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyVersion([u8; 32]);

impl PolicyVersion {
    /// The version of this text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 digits: enough for a person to tell two policies apart.
    #[must_use]
    pub fn short(&self) -> String {
        let [a, b, c, d, e, f, ..] = self.0;
        hex::encode(&[a, b, c, d, e, f])
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

impl fmt::Debug for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyVersion({self})")
    }
}

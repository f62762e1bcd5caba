//! The id of an API key: what may be said of one aloud.

use crate::hex::{self, HexError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The id of an API key: 16 hex digits, as they stand in the key itself. It names the key in lists, events and snapshots;
/// the secret is not in it.
///
/// ```
/// use countersign_identity::ApiKeyId;
///
/// let key = ApiKeyId::from_random([0xab; 8]);
/// assert_eq!(key.to_string(), "abababababababab");
/// assert_eq!(key.to_string().parse(), Ok(key));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId([u8; 8]);

/// A text that is not the id of an API key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the id of an API key is 16 lower-case hex digits: {0}")]
pub struct ApiKeyIdError(#[from] HexError);

impl ApiKeyId {
    /// The key named by 8 random octets.
    #[must_use]
    pub const fn from_random(octets: [u8; 8]) -> Self {
        Self(octets)
    }

    /// The octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl FromStr for ApiKeyId {
    type Err = ApiKeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(hex::decode_exact(text)?))
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyId({self})")
    }
}

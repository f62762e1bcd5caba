//! The lineage: the chain of renewals that one enrollment began.

use crate::hex::{self, HexError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The id of a lineage, carried by every certificate of it: `l-` and 32 hex digits.
///
/// ```
/// use countersign_identity::Lineage;
///
/// let lineage = Lineage::from_random([0xab; 16]);
/// assert_eq!(lineage.to_string(), "l-abababababababababababababababab");
/// assert_eq!(lineage.to_string().parse(), Ok(lineage));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lineage([u8; 16]);

/// Why a text is not a lineage id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LineageError {
    /// The text does not begin with `l-`.
    #[error("a lineage id begins with \"l-\", followed by 32 lower-case hex digits")]
    Prefix,
    /// What follows `l-` is not 32 lower-case hex digits.
    #[error("a lineage id is \"l-\" and 32 lower-case hex digits: {0}")]
    Digits(#[from] HexError),
}

impl Lineage {
    /// The lineage named by 16 random octets.
    #[must_use]
    pub const fn from_random(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for Lineage {
    type Err = LineageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("l-").ok_or(LineageError::Prefix)?;
        Ok(Self(hex::decode_exact(digits)?))
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("l-{}", hex::encode(&self.0)))
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lineage({self})")
    }
}

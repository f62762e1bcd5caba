//! The machine id: one holder that enrolled.

use crate::hex::{self, HexError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The id of a machine: `m-` and 16 hex digits.
///
/// ```
/// use countersign_identity::MachineId;
///
/// let machine = MachineId::from_random([0xab; 8]);
/// assert_eq!(machine.to_string(), "m-abababababababab");
/// assert_eq!(machine.to_string().parse(), Ok(machine));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId([u8; 8]);

/// Why a text is not a machine id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MachineIdError {
    /// The text does not begin with `m-`.
    #[error("a machine id begins with \"m-\", followed by 16 lower-case hex digits")]
    Prefix,
    /// What follows `m-` is not 16 lower-case hex digits.
    #[error("a machine id is \"m-\" and 16 lower-case hex digits: {0}")]
    Digits(#[from] HexError),
}

impl MachineId {
    /// The machine named by 8 random octets.
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

impl FromStr for MachineId {
    type Err = MachineIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("m-").ok_or(MachineIdError::Prefix)?;
        Ok(Self(hex::decode_exact(digits)?))
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("m-{}", hex::encode(&self.0)))
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineId({self})")
    }
}

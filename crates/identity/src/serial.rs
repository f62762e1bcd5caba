//! The serial number of a certificate (RFC 5280 §4.1.2.2).

use crate::hex::{self, HexError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A certificate serial number: positive and below 2^143, so that it fits 18 octets as a DER INTEGER.
///
/// ```
/// use countersign_identity::Serial;
///
/// let serial = Serial::from_random([0xff; 18]);
/// assert_eq!(serial.to_string(), format!("7f{}", "ff".repeat(17)));
/// assert_eq!("00ab".parse::<Serial>()?.to_string(), "ab");
/// # Ok::<(), countersign_identity::SerialError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 18]);

/// Why octets or a text are not a serial number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SerialError {
    /// No octet at all.
    #[error("the serial number is empty")]
    Empty,
    /// Zero (RFC 5280 §4.1.2.2 asks for a positive number).
    #[error("the serial number is zero, expected a positive number")]
    Zero,
    /// The first octet has its top bit set, which makes a DER INTEGER negative.
    #[error("the serial number is negative, expected a positive number")]
    Negative,
    /// 2^143 or more.
    #[error("the serial number takes {found} octets as a DER INTEGER, at most 18 are accepted")]
    TooLong {
        /// Octets a DER INTEGER would take.
        found: usize,
    },
    /// The text is not hexadecimal.
    #[error("a serial number is written in hex: {0}")]
    Digits(#[from] HexError),
}

impl Serial {
    /// The serial made from 18 random octets: the top bit is cleared (positive), and a first octet of zero becomes one,
    /// so that the DER always holds 18 octets.
    #[must_use]
    pub const fn from_random(mut octets: [u8; 18]) -> Self {
        let [first, ..] = &mut octets;
        *first &= 0x7f;
        if *first == 0 {
            *first = 1;
        }
        Self(octets)
    }

    /// Reads the content octets of a DER INTEGER (big-endian two's complement). Leading zeros are skipped.
    ///
    /// # Errors
    /// When the number is zero, negative, or 2^143 and more.
    pub fn from_be_bytes(octets: &[u8]) -> Result<Self, SerialError> {
        match octets.first() {
            None => Err(SerialError::Empty),
            Some(first) if first & 0x80 != 0 => Err(SerialError::Negative),
            Some(_) => Self::from_magnitude(octets),
        }
    }

    /// The number in 18 octets, big-endian, with leading zeros where it is shorter.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 18] {
        &self.0
    }

    /// The number without leading zero octets.
    fn magnitude(&self) -> &[u8] {
        strip_zeros(&self.0)
    }

    fn from_magnitude(octets: &[u8]) -> Result<Self, SerialError> {
        let magnitude = strip_zeros(octets);
        let Some(first) = magnitude.first() else { return Err(SerialError::Zero) };
        let sign_octet = usize::from(first & 0x80 != 0);
        let too_long = SerialError::TooLong { found: magnitude.len() + sign_octet };
        if magnitude.len() + sign_octet > 18 {
            return Err(too_long);
        }
        let mut padded = [0; 18];
        padded.get_mut(18 - magnitude.len()..).ok_or(too_long)?.copy_from_slice(magnitude);
        Ok(Self(padded))
    }
}

fn strip_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads hex of either case, as `openssl x509 -serial` prints it, or as many print a number: without the zero that fills the first
    /// octet.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(SerialError::Empty);
        }
        let fill = if text.len().is_multiple_of(2) { "" } else { "0" };
        Self::from_magnitude(&hex::decode(&[fill, text].concat())?)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.magnitude()))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

//! Hexadecimal text.

use thiserror::Error;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Why a text is not hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HexError {
    /// Half an octet at the end.
    #[error("found {found} hex digits, expected an even number")]
    Odd {
        /// Number of bytes in the text.
        found: usize,
    },
    /// Another number of digits than the value has.
    #[error("found {found} characters, expected {expected} hex digits")]
    Length {
        /// Number of bytes in the text.
        found: usize,
        /// Number of digits a value of this kind has.
        expected: usize,
    },
    /// A character that is no hex digit.
    #[error("found a character that is no hex digit at byte {at}, expected 0-9 and a-f")]
    Digit {
        /// Its offset in bytes.
        at: usize,
    },
}

/// Lower-case hex, two digits an octet.
#[must_use]
pub fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        for nibble in [octet >> 4, octet & 15] {
            text.push(char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or_default()));
        }
    }
    text
}

/// The octets behind hex of either case.
///
/// # Errors
/// When the number of digits is odd or a character is no hex digit.
pub fn decode(text: &str) -> Result<Vec<u8>, HexError> {
    if !text.len().is_multiple_of(2) {
        return Err(HexError::Odd { found: text.len() });
    }
    let nibble = |at: usize, digit: u8| {
        char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok()).ok_or(HexError::Digit { at })
    };
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .enumerate()
        .map(|(i, &[high, low])| Ok(nibble(2 * i, high)? << 4 | nibble(2 * i + 1, low)?))
        .collect()
}

/// Exactly `N` octets in lower-case hex: for identifiers, which have one spelling only.
pub(crate) fn decode_exact<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    if text.len() != 2 * N {
        return Err(HexError::Length { found: text.len(), expected: 2 * N });
    }
    if let Some(at) = text.bytes().position(|b| b.is_ascii_uppercase()) {
        return Err(HexError::Digit { at });
    }
    let octets = decode(text)?;
    octets.try_into().map_err(|_| HexError::Length { found: text.len(), expected: 2 * N })
}

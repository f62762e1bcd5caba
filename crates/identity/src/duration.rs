//! Durations as people write them in configuration: `90s`, `15m`, `1h 30m`, `7d`.

use std::time::Duration;
use thiserror::Error;

/// Units from the largest down, in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not a whole number followed by a unit.
    #[error("found {found:?}, expected a whole number and a unit (s, m, h or d), such as 90s, 15m, 1h or 7d")]
    Part {
        /// The part that cannot be read.
        found: String,
    },
    /// The same unit twice, or a larger unit after a smaller.
    #[error("found {found:?} out of order, write the larger unit first and each once, such as 1h 30m")]
    Order {
        /// The part out of order.
        found: String,
    },
    /// More seconds than 64 bits hold.
    #[error("the duration {found:?} is too long")]
    TooLong {
        /// The whole text.
        found: String,
    },
}

/// Reads `90s`, `15m`, `1h`, `7d`, or several such parts divided by spaces, the larger unit first.
///
/// ```
/// use countersign_identity::duration;
/// use std::time::Duration;
///
/// assert_eq!(duration::parse("1h 30m")?, Duration::from_secs(5_400));
/// assert_eq!(duration::format(Duration::from_secs(5_400)), "1h 30m");
/// # Ok::<(), duration::DurationError>(())
/// ```
///
/// # Errors
/// When a part is not a whole number with a unit, the parts are out of order, or the sum is too large.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut total = 0_u64;
    let mut smaller = UNITS.as_slice();
    for part in text.split(' ') {
        let unreadable = || DurationError::Part { found: part.to_owned() };
        let unit = part.chars().next_back().ok_or_else(unreadable)?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(unreadable)?;
        let digits = part.strip_suffix(unit).unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(unreadable());
        }
        let position = smaller.iter().position(|(name, _)| *name == unit);
        let position = position.ok_or_else(|| DurationError::Order { found: part.to_owned() })?;
        smaller = smaller.get(position + 1..).unwrap_or_default();
        let sum = digits.parse().ok().and_then(|n: u64| n.checked_mul(seconds)?.checked_add(total));
        total = sum.ok_or_else(|| DurationError::TooLong { found: text.to_owned() })?;
    }
    Ok(Duration::from_secs(total))
}

/// Writes the whole seconds of a duration so that [`parse`] reads them back: `1h`, `15m`, `1h 30m`, `0s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, seconds) in UNITS {
        if rest >= seconds {
            parts.push(format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

//! The time a certificate is good for (RFC 5280 §4.1.2.5).

use crate::timestamp::Timestamp;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// From `not_before` to `not_after`, both seconds included.
///
/// ```
/// use countersign_identity::{Timestamp, Validity, ValidityState};
/// use std::time::Duration;
///
/// let start = Timestamp::from_unix(1_000);
/// let minute = Validity::new(start, start + Duration::from_secs(59))?;
/// assert_eq!(minute.lifetime(), Duration::from_secs(60));
/// assert_eq!(minute.state(start + Duration::from_secs(60)), ValidityState::Expired { by: Duration::from_secs(1) });
/// # Ok::<(), countersign_identity::ValidityError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

/// How a [`Validity`] stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValidityState {
    /// It has not begun.
    NotYet {
        /// How long until it does.
        by: Duration,
    },
    /// It holds.
    Current,
    /// It is over.
    Expired {
        /// How long since its last second.
        by: Duration,
    },
}

/// Why two times are no validity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the validity ends at {not_after}, before it begins at {not_before}")]
pub struct ValidityError {
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Validity {
    /// The time from `not_before` to the end of the second `not_after`.
    ///
    /// # Errors
    /// When it would end before it begins.
    pub fn new(not_before: Timestamp, not_after: Timestamp) -> Result<Self, ValidityError> {
        if not_after < not_before {
            return Err(ValidityError { not_before, not_after });
        }
        Ok(Self { not_before, not_after })
    }

    /// From `not_before` on, `lifetime` long in whole seconds, the first and the last counted; at least one second.
    #[must_use]
    pub fn lasting(not_before: Timestamp, lifetime: Duration) -> Self {
        Self { not_before, not_after: not_before + lifetime.saturating_sub(Duration::from_secs(1)) }
    }

    /// The first second.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.state(at) == ValidityState::Current
    }

    /// How long it lasts, counting both ends.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before) + Duration::from_secs(1)
    }

    /// How it stands at `at`, and by how much it misses.
    #[must_use]
    pub fn state(&self, at: Timestamp) -> ValidityState {
        if at < self.not_before {
            ValidityState::NotYet { by: self.not_before.since(at) }
        } else if at > self.not_after {
            ValidityState::Expired { by: at.since(self.not_after) }
        } else {
            ValidityState::Current
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.not_before, self.not_after)
    }
}

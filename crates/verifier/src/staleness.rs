//! How old trust may be: past one limit it is said to be stale, past the other nobody is let in.

use std::time::Duration;

use countersign_identity::Timestamp;

/// How long a service goes on with the last snapshot it has, counted from when that was issued; or with the keys of another
/// authorization server, counted from when they were fetched.
///
/// The default is a day: long enough to repair a CA at night without an outage of everything else, short enough that
/// whoever cuts a service off from revocations gains one day of it and not a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardLimit {
    /// So long; then everybody is refused.
    After(Duration),
    /// For ever. Whoever can keep snapshots away then keeps every revocation away: that must be spelled out.
    Never,
}

impl Default for HardLimit {
    fn default() -> Self {
        Self::After(Duration::from_secs(24 * 60 * 60))
    }
}

impl HardLimit {
    /// The last second in which trust issued at `issued` counts.
    #[must_use]
    pub fn end(self, issued: Timestamp) -> Timestamp {
        match self {
            Self::After(limit) => issued + limit,
            Self::Never => Timestamp::MAX,
        }
    }
}

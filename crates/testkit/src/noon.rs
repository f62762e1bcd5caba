//! The moment all fixtures live around.

use std::sync::Arc;

use countersign_identity::{ManualClock, Timestamp};
use time::OffsetDateTime;

/// 2026-11-23T12:00:00Z.
#[must_use]
pub const fn noon() -> Timestamp {
    Timestamp::from_unix(1_795_435_200)
}

/// A clock that shows noon until it is set.
#[must_use]
pub fn noon_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(noon()))
}

pub(crate) fn to_rcgen(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.unix()).expect("a time certificates can carry")
}

#[cfg(test)]
mod tests {
    #[test]
    fn noon_is_noon() {
        assert_eq!(super::noon().to_string(), "2026-11-23T12:00:00Z");
    }
}

//! The real clock: the one place of this workspace that reads it.

use std::time::SystemTime;

use countersign_identity::{Clock, Timestamp};

/// The machine's own clock, in whole seconds.
///
/// Everything else takes a [`Clock`], so that tests and replays choose the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the real clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_clock_is_past_the_day_this_was_written() {
        assert!(SystemClock.now() > Timestamp::from_unix(1_795_000_000));
    }
}

//! How long to wait before asking again: longer each time, and never all at once.

use std::time::Duration;

/// The first wait. A CA that restarts is back within it.
const FIRST: Duration = Duration::from_millis(500);

/// The longest: an outage is over within a minute of the CA's return.
const LONGEST: Duration = Duration::from_secs(60);

/// The waits of one who asks in vain.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to wait now: between half and all of a time that doubles, by `random`. What the CA asks for
    /// (`Retry-After`) is kept, with as much again as spreads the crowd.
    pub(crate) fn wait(&mut self, random: u8, asked: Option<Duration>) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let part = whole / 2 * u32::from(random) / 255;
        match asked {
            Some(asked) => asked.min(LONGEST * 10) + part,
            None => whole / 2 + part,
        }
    }

    /// The last attempt went well.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_spread_by_half() {
        let mut backoff = Backoff::default();
        let least: Vec<_> = (0..9).map(|_| backoff.wait(0, None).as_millis()).collect();
        assert_eq!(least, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.wait(255, None), LONGEST);
        backoff.reset();
        assert_eq!(backoff.wait(255, None), FIRST);
    }

    #[test]
    fn what_the_ca_asks_for_is_kept() {
        let mut backoff = Backoff::default();
        let asked = Duration::from_secs(7);
        assert!(backoff.wait(0, Some(asked)) >= asked);
        assert!(backoff.wait(255, Some(Duration::from_secs(1 << 40))) < LONGEST * 12);
    }
}

//! How soon to look at an endpoint again: at its own pace, never in a tight loop.

use std::time::Duration;

use crate::source::Backoff;

/// How often to look where the bundle does not say (SPIFFE Trust Domain and Bundle §4.1.3 suggests five minutes).
const USUAL: Duration = Duration::from_secs(300);

/// The most: whoever publishes a bundle that asks to be forgotten for a year is looked at each day.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// The waits between looks.
#[derive(Debug)]
pub(super) struct Pace {
    /// The least, whatever a bundle hints at: it is somebody else's server.
    least: Duration,
    every: Duration,
    /// Until there is a first bundle.
    first: Option<Backoff>,
}

impl Pace {
    pub(super) fn new(least: Duration) -> Self {
        Self { least, every: USUAL, first: Some(Backoff::default()) }
    }

    /// A bundle came, with its hint.
    pub(super) fn fetched(&mut self, hint: Option<Duration>) {
        self.every = hint.unwrap_or(USUAL).clamp(self.least, MOST.max(self.least));
        self.first = None;
    }

    /// How long to wait now, by `random`: between nine tenths and all of the interval, after a failure as after a success. While
    /// there was no bundle at all, from a quarter of a second up to a minute.
    pub(super) fn wait(&mut self, random: u8) -> Duration {
        match &mut self.first {
            Some(first) => first.wait(random, None),
            None => self.every - self.every / 10 * u32::from(random) / 255,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(10);

    #[test]
    fn a_bundle_is_looked_at_as_often_as_it_hints_within_reason() {
        let mut pace = Pace::new(LEAST);
        for (hint, expected) in [(None, 300), (Some(60), 60), (Some(0), 10), (Some(u64::MAX), 86_400)] {
            pace.fetched(hint.map(Duration::from_secs));
            assert_eq!(pace.wait(0), Duration::from_secs(expected), "{hint:?}");
            assert_eq!(pace.wait(255), Duration::from_secs(expected) * 9 / 10, "{hint:?}");
        }
    }

    #[test]
    fn a_failure_is_repeated_no_sooner_than_a_success() {
        let mut pace = Pace::new(LEAST);
        pace.fetched(Some(Duration::from_secs(60)));
        let waits: Vec<_> = (0..5).map(|_| pace.wait(0).as_secs()).collect();
        assert_eq!(waits, [60; 5]);
    }

    #[test]
    fn the_first_bundle_is_asked_for_with_growing_waits() {
        let mut pace = Pace::new(LEAST);
        let waits: Vec<_> = (0..9).map(|_| pace.wait(0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }
}

//! How long to leave the CA alone after a failure, for whoever asks again and again.

use std::time::Duration;

use rand::RngExt as _;

/// The longest `Retry-After` that is believed, as for renewals.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Decorrelated, capped pauses.
#[derive(Debug)]
pub(crate) struct Pause {
    shortest: Duration,
    longest: Duration,
    last: Duration,
}

impl Pause {
    /// Pauses between the two.
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, last: Duration::ZERO }
    }

    /// All is well again.
    pub(crate) const fn reset(&mut self) {
        self.last = Duration::ZERO;
    }

    /// The pause after one more failure. What the CA asked for is kept to; what only an operator can change is asked
    /// about rarely.
    pub(crate) fn after(&mut self, asked: Option<Duration>, lasting: bool) -> Duration {
        let high = if lasting { self.longest } else { (self.last * 3).clamp(self.shortest, self.longest) };
        let low = if lasting { self.longest / 2 } else { self.shortest };
        self.last = rand::rng().random_range(low..=high.max(low));
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        self.last.max(asked + rand::rng().random_range(Duration::ZERO..=asked / 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_are_never_shorter_than_the_shortest() {
        let (low, high) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut pause = Pause::new(low, high);
        assert!(pause.after(None, false) <= low * 3);
        let later: Vec<_> = (0..1000).map(|_| pause.after(None, false)).collect();
        assert!(later.iter().all(|wait| *wait >= low && *wait <= high));
        assert!(later.iter().any(|wait| *wait > high / 2));
        pause.reset();
        assert!(pause.after(None, false) <= low * 3);
    }

    #[test]
    fn what_the_ca_asks_for_is_kept_to_within_reason() {
        let mut pause = Pause::new(Duration::from_secs(1), Duration::from_secs(60));
        let asked = pause.after(Some(Duration::from_secs(500)), false);
        assert!(asked >= Duration::from_secs(500) && asked <= Duration::from_secs(550), "{asked:?}");
        assert!(pause.after(Some(Duration::from_secs(u64::MAX)), false) <= Duration::from_secs(3960));
        assert!(pause.after(None, true) >= Duration::from_secs(30));
    }
}

//! What the CA does between requests: lets the expired leave, and says in time what will end.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use countersign_identity::{Timestamp, Validity, duration};
use countersign_store::IssuanceFilter;

use super::{Ca, Refused};

/// Shares of an issuer's life at which its end is announced, in percent.
const ANNOUNCE: [u64; 3] = [50, 25, 10];
/// What `expiring_soon` counts.
const SOON: Duration = Duration::from_secs(600);
/// A clock that is slewed drifts less than this against the machine's own measure; one that is set, more.
const MOST_DRIFT: Duration = Duration::from_secs(60);
/// How long a clock must go steadily before anything is forgotten on its word.
const SETTLED: Duration = Duration::from_secs(600);
/// Past this many the gauge stops counting: a scan must stay short.
const MOST_COUNTED: usize = 100_000;

impl Ca {
    /// Expired records leave, quiet callers are forgotten, the gauge of what ends soon is counted.
    ///
    /// # Errors
    /// When the book takes no writes.
    pub async fn sweep(&self) -> Result<(), Refused> {
        let now = self.now();
        self.rates().sweep();
        self.close_tallies(now).await;
        self.write_key_uses().await;
        self.replays.sweep(now);
        let steady = self.clock_is_steady();
        self.turn_token_ring(steady)?;
        if !steady {
            return Ok(());
        }
        let filter = IssuanceFilter {
            live_at: Some(now),
            ending_before: Some(now + SOON),
            ..IssuanceFilter::default()
        };
        let ending = self.book().issuances(&filter, None, MOST_COUNTED)?.items.len();
        self.metrics().expiring_soon.set(i64::try_from(ending).unwrap_or(i64::MAX));
        self.book().expire(now).await?;
        self.published().forget_ended(now);
        Ok(())
    }

    /// Whether the clock has gone as time did since the CA started, and that for a while. A clock that jumps ahead for a
    /// minute must not sweep away certificates and revocations that are alive (invariant 2).
    fn clock_is_steady(&self) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, started) = *watched;
        let passed = since.elapsed();
        let expected = started + passed;
        let now = self.now();
        if now.since(expected).max(expected.since(now)) > MOST_DRIFT {
            *watched = (Instant::now(), now);
            tracing::warn!(%now, %expected, "the clock was set: nothing leaves the book for ten minutes");
            return false;
        }
        passed >= SETTLED
    }

    /// Remembers the server certificate in use.
    pub fn note_server_certificate(&self, validity: Validity) {
        self.server_validity.store(std::sync::Arc::new(Some(validity)));
    }

    /// When the server certificate in use ends.
    #[must_use]
    pub fn server_certificate_end(&self) -> Option<Timestamp> {
        self.server_validity.load().as_ref().as_ref().map(Validity::not_after)
    }

    /// Whether the server certificate should be replaced: half its life is over, or a clock that was wrong for a while
    /// left one that is not valid now.
    #[must_use]
    pub fn server_certificate_is_old(&self) -> bool {
        let now = self.now();
        let old = |validity: &Validity| {
            now >= validity.not_before() + validity.lifetime() / 2 || !validity.contains(now)
        };
        self.server_validity.load().as_ref().as_ref().is_none_or(old)
    }

    /// Whether machines would accept the server certificate now.
    #[must_use]
    pub fn server_certificate_is_valid(&self) -> bool {
        self.server_validity.load().as_ref().as_ref().is_some_and(|validity| validity.contains(self.now()))
    }

    /// Logs, once per share of its life, that the issuer or the trust signer ends.
    pub fn warn_of_ends(&self) {
        let keys = self.keys();
        let left = life_left_percent(&keys.issuer().validity(), self.now());
        let announced = self.announced.load(std::sync::atomic::Ordering::Relaxed);
        let Some(share) = ANNOUNCE.iter().rev().find(|share| left <= **share) else {
            // A new issuer signs: its shares are announced from the start.
            self.announced.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
            return;
        };
        if *share < announced {
            self.announced.store(*share, std::sync::atomic::Ordering::Relaxed);
            let end = keys.issuer().validity().not_after();
            let rest = duration::format(end.since(self.now()));
            tracing::warn!(%end, rest, percent = left, "the issuer is ending: countersign issuer rotate");
        }
    }
}

/// How much of `validity` is left at `now`, in percent, rounded down.
#[must_use]
pub fn life_left_percent(validity: &Validity, now: Timestamp) -> u64 {
    let left = validity.not_after().since(now).as_secs();
    (left.saturating_mul(100) / validity.lifetime().as_secs().max(1)).min(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_life_is_rounded_down() {
        let from = Timestamp::from_unix(1_000);
        let validity = Validity::lasting(from, Duration::from_secs(100));
        assert_eq!(life_left_percent(&validity, from), 99);
        assert_eq!(life_left_percent(&validity, from + Duration::from_secs(50)), 49);
        assert_eq!(life_left_percent(&validity, from + Duration::from_secs(500)), 0);
    }
}

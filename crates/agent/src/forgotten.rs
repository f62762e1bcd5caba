//! A certificate that the CA's book does not know, as after a restore: only a renewal makes the machine known again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_identity::Serial;
use rand::{Rng, RngExt as _};
use tokio::sync::Notify;

/// A whole fleet hears of a restored book within seconds, as connections to the CA are made again.
const SPREAD: Duration = Duration::from_secs(10);

/// How long one of a fleet waits before it makes itself known: less where certificates are short.
pub(crate) fn breath(life: Duration, dice: &mut impl Rng) -> Duration {
    dice.random_range(Duration::ZERO..=SPREAD.min(life / 60))
}

/// Which certificate the CA did not know last, for whoever renews.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    serial: Mutex<Option<Serial>>,
    noticed: Notify,
}

impl Forgotten {
    /// The CA does not know this certificate. Each is told of once: a renewal that is refused as well is tried again as
    /// the schedule has it.
    pub(crate) fn note(&self, serial: Serial) {
        let mut known = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != Some(serial) {
            *known = Some(serial);
            self.noticed.notify_one();
        }
    }

    /// Waits until this certificate is one that the CA does not know; any other was renewed already.
    pub(crate) async fn is(&self, serial: Serial) {
        loop {
            self.noticed.notified().await;
            if *self.serial.lock().unwrap_or_else(PoisonError::into_inner) == Some(serial) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_fleet_that_was_forgotten_comes_evenly() {
        let mut dice = StdRng::seed_from_u64(7);
        let mut seconds = [0; 10];
        for _ in 0..10_000 {
            let breath = breath(Duration::from_secs(3600), &mut dice);
            seconds[usize::try_from(breath.as_millis() / 1000).unwrap().min(9)] += 1;
        }
        assert!(seconds.iter().all(|second| (900..1_100).contains(second)), "{seconds:?}");
        assert!(breath(Duration::from_secs(60), &mut dice) <= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn each_certificate_is_told_of_once_and_one_that_was_renewed_is_not() {
        let forgotten = Forgotten::default();
        let serial = |n| Serial::from_be_bytes(&[n]).unwrap();
        let told = |n| timeout(Duration::from_millis(20), forgotten.is(serial(n)));
        forgotten.note(serial(1));
        told(1).await.unwrap();
        forgotten.note(serial(1));
        told(1).await.unwrap_err();
        forgotten.note(serial(2));
        told(3).await.unwrap_err();
    }
}

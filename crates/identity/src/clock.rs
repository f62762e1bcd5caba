//! Where time comes from: a trait, and a clock set by hand.

use crate::timestamp::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Tells the time. The only clock in this crate is the one set by hand; the programs bring the real one.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present second.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// A clock that stands still until it is moved.
///
/// ```
/// use countersign_identity::{Clock, ManualClock, Timestamp};
/// use std::time::Duration;
///
/// let clock = ManualClock::new(Timestamp::from_unix(100));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now().unix(), 105);
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    #[must_use]
    pub const fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.unix()))
    }

    /// Shows `at` from now on.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.unix(), Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, distance: Duration) {
        let later = |seconds| Some((Timestamp::from_unix(seconds) + distance).unix());
        // The closure never answers `None`, so the update never fails.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::SeqCst))
    }
}

//! Lines of the log that a user's processes can cause: one now and then, however much they do.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two lines of one kind about one user.
const RARELY: Duration = Duration::from_secs(10);

/// Which user had a line when, each for itself: one that causes many hides no other.
#[derive(Debug, Default)]
pub(super) struct Rarely {
    told: Mutex<BTreeMap<u32, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Occasions since, of which nothing was told.
    passed_over: u64,
}

impl Rarely {
    /// Whether a line is due about this user, and how many occasions had none since the last one.
    pub(super) fn due(&self, uid: u32, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = told.get_mut(&uid).filter(|before| !before.is_over(now)) {
            before.passed_over = before.passed_over.saturating_add(1);
            return None;
        }
        let before = told.insert(uid, Told { at: now, passed_over: 0 });
        // Users without number are not remembered for ever.
        told.retain(|_, before| !before.is_over(now));
        Some(before.map_or(0, |before| before.passed_over))
    }
}

impl Told {
    /// Whether the next line is due.
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.at) >= RARELY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_acts_without_end_has_a_line_now_and_then_and_hides_no_other() {
        let (lines, begun) = (Rarely::default(), Instant::now());
        assert_eq!((0..1000).filter_map(|_| lines.due(1, begun)).count(), 1);
        assert_eq!(lines.due(2, begun), Some(0));
        assert_eq!(lines.due(1, begun + RARELY), Some(999));
        assert_eq!(lines.due(1, begun + RARELY * 2), Some(0));
    }

    #[test]
    fn users_without_number_are_forgotten_once_their_next_line_is_due() {
        let (lines, begun) = (Rarely::default(), Instant::now());
        assert_eq!((0..1000).filter_map(|uid| lines.due(uid, begun)).count(), 1000);
        assert_eq!(lines.due(1, begun), None);
        assert_eq!(lines.due(7, begun + RARELY), Some(0));
        assert_eq!(lines.told.lock().unwrap().len(), 1);
    }
}

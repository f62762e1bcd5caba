//! What proxies say about the secrets they were sent, for the log: a line now and then, however much they say.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use crate::generated::sds::Refusal;
use crate::plain::plain;

/// The shortest time between two lines about one user's proxies.
const RARELY: Duration = Duration::from_secs(10);
/// The longest piece of a caller's words in a line, in characters.
const LONGEST: usize = 200;

/// Who complained when, each user for itself: one that complains much hides no other.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    told: Mutex<BTreeMap<u32, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Complaints since, of which nothing was told.
    passed_over: u64,
}

impl Complaints {
    /// A proxy that refuses what it was sent keeps what it had: an operator should know. For callers that were sent
    /// something; whoever else complains is nobody's concern.
    pub(super) fn heed(
        &self,
        refusal: Option<&Refusal>,
        caller: &Connection,
        node: Option<&str>,
        names: &[String],
    ) {
        let uid = caller.caller.uid();
        let Some((refusal, passed_over)) =
            refusal.and_then(|refusal| Some((refusal, self.due(uid, Instant::now())?)))
        else {
            return;
        };
        tracing::warn!(
            uid,
            pid = caller.caller.pid(),
            node = node.map(|node| plain(node, LONGEST)),
            names = plain(&names.join(" "), LONGEST),
            code = refusal.code,
            passed_over,
            "a proxy refuses the secrets it was sent and keeps those it had: {}",
            plain(&refusal.message, LONGEST)
        );
    }

    /// Whether a line is due about this user, and how many complaints had none since the last one.
    fn due(&self, uid: u32, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(&uid) {
            Some(before) if now.duration_since(before.at) < RARELY => {
                before.passed_over = before.passed_over.saturating_add(1);
                None
            }
            _ => {
                let before = told.insert(uid, Told { at: now, passed_over: 0 });
                Some(before.map_or(0, |before| before.passed_over))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_complains_without_end_has_a_line_now_and_then_and_hides_no_other() {
        let (complaints, begun) = (Complaints::default(), Instant::now());
        let lines = (0..1000).filter_map(|_| complaints.due(1, begun)).count();
        assert_eq!(lines, 1);
        assert_eq!(complaints.due(2, begun), Some(0));
        assert_eq!(complaints.due(1, begun + RARELY), Some(999));
        assert_eq!(complaints.due(1, begun + RARELY * 2), Some(0));
    }
}

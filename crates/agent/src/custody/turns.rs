//! Whose turn it is at the CA: a few at a time, and of those who wait the one whose certificate ends first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_identity::{SpiffeId, Timestamp};
use tokio::sync::Notify;

/// How many identities are issued at a time: enough that a machine with a hundred starts within seconds, few enough that
/// those whose end is near are not among the last after an outage.
const AT_A_TIME: usize = 4;

/// The line at the CA.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Line {
    people: Mutex<People>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct People {
    waiting: BTreeSet<(Timestamp, SpiffeId)>,
    served: usize,
}

impl Line {
    fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, given up when it is dropped.
pub(super) struct Place {
    line: Arc<Line>,
    who: (Timestamp, SpiffeId),
}

/// A turn, over when it is dropped.
pub(super) struct Turn {
    line: Arc<Line>,
}

impl Turns {
    /// Joins the line with a certificate that ends at `end`; who has none yet comes first.
    pub(super) fn join(&self, end: Option<Timestamp>, id: &SpiffeId) -> Place {
        let who = (end.unwrap_or(Timestamp::MIN), id.clone());
        self.line.people().waiting.insert(who.clone());
        Place { line: Arc::clone(&self.line), who }
    }
}

impl Place {
    /// Waits for the turn.
    pub(super) async fn turn(self) -> Turn {
        loop {
            let moved = self.line.moved.notified();
            {
                let mut people = self.line.people();
                if people.served < AT_A_TIME && people.waiting.first() == Some(&self.who) {
                    people.served += 1;
                    // Leaving the line tells the next one.
                    return Turn { line: Arc::clone(&self.line) };
                }
            }
            moved.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.people().waiting.remove(&self.who);
        self.line.moved.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut people = self.line.people();
        people.served = people.served.saturating_sub(1);
        drop(people);
        self.line.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    fn id(n: usize) -> SpiffeId {
        format!("spiffe://prod.example/{n}").parse().unwrap()
    }

    fn end(n: usize) -> Option<Timestamp> {
        i64::try_from(n).ok().map(Timestamp::from_unix)
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_first_goes_first_and_no_more_than_a_few_go_at_a_time() {
        let turns = Turns::default();
        let mut holders = Vec::new();
        for n in 0..AT_A_TIME {
            holders.push(turns.join(None, &id(100 + n)).turn().await);
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = JoinSet::new();
        for n in [5, 2, 9, 1, 7] {
            let (place, order) = (turns.join(end(n), &id(n)), Arc::clone(&order));
            waiting.spawn(async move {
                let turn = place.turn().await;
                order.lock().unwrap().push(n);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(turn);
            });
        }
        drop(turns.join(end(0), &id(0)));
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(order.lock().unwrap().is_empty(), "all turns are taken");
        holders.pop();
        while waiting.join_next().await.is_some() {}
        assert_eq!(*order.lock().unwrap(), [1, 2, 5, 7, 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_a_place_or_a_turn_keeps_nobody_waiting() {
        let turns = Turns::default();
        for n in 0..3 * AT_A_TIME {
            let urgent = turns.join(end(0), &id(100 + n));
            let place = turns.join(end(n), &id(n));
            drop(urgent);
            drop(place.turn().await);
        }
    }
}

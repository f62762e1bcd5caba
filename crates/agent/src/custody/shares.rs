//! Turns at the CA for tokens: a few at a time, and one user's processes have half of them at most, so that who asks
//! without end waits behind itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How many tokens are fetched at a time: the CA is spared.
const AT_A_TIME: usize = 4;
/// How many of one user.
const OF_ONE_USER: usize = AT_A_TIME / 2;

/// The turns.
#[derive(Debug)]
pub(super) struct Shares {
    all: Semaphore,
    of_users: Mutex<BTreeMap<u32, Arc<Semaphore>>>,
}

/// A turn, over when it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    _of_user: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'a>,
}

impl Default for Shares {
    fn default() -> Self {
        Self { all: Semaphore::new(AT_A_TIME), of_users: Mutex::default() }
    }
}

impl Shares {
    /// Waits for a turn of this user. First among its own, so that only a few of each user wait among all.
    pub(super) async fn turn(&self, uid: u32) -> Option<Share<'_>> {
        let of_user = self.of_user(uid).acquire_owned().await.ok()?;
        Some(Share { _of_user: of_user, _of_all: self.all.acquire().await.ok()? })
    }

    /// The turns of one user; those of whom nobody waits or is served are forgotten.
    fn of_user(&self, uid: u32) -> Arc<Semaphore> {
        let mut of_users = self.of_users.lock().unwrap_or_else(PoisonError::into_inner);
        of_users.retain(|_, turns| Arc::strong_count(turns) > 1);
        Arc::clone(of_users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE_USER))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_without_end_waits_behind_itself() {
        let shares = Arc::new(Shares::default());
        let mut greedy = JoinSet::new();
        for _ in 0..1000 {
            let shares = Arc::clone(&shares);
            greedy.spawn(async move {
                let share = shares.turn(1).await;
                sleep(Duration::from_secs(1)).await;
                drop(share);
            });
        }
        sleep(Duration::from_millis(10)).await;
        let begun = Instant::now();
        let (one, other) = (shares.turn(2).await.unwrap(), shares.turn(3).await.unwrap());
        assert_eq!(begun.elapsed(), Duration::ZERO, "there is room for others at any moment");
        let third = shares.turn(4).await;
        assert!(begun.elapsed() <= Duration::from_secs(1), "and no more than {AT_A_TIME} go at a time");
        drop((one, other, third));
        greedy.abort_all();
        while greedy.join_next().await.is_some() {}
        drop(shares.turn(5).await);
        assert_eq!(shares.of_users.lock().unwrap().len(), 1, "who is gone takes no room");
    }
}

//! What an authorization server is asked about keys and tokens: once about each, by whoever comes first, and not about too many at once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_identity::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use super::refusal::TokenRefusal;
use super::verdicts::{Ends, SecretDigest, Verdicts};

/// How many keys or tokens a server is asked about at once: whoever invents them shall not make a flood of this service for somebody
/// else's server.
const TURNS: usize = 16;

/// How long a question waits for its turn, so that a few that were invented do not keep all others out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Turns to ask one server.
pub(super) struct Turns(Semaphore);

/// What was said, and what is being asked, of the keys or tokens of one kind that are judged in one way.
pub(super) struct Questions<T>(Mutex<Desk<T>>);

struct Desk<T> {
    said: Verdicts<T>,
    asked: HashMap<SecretDigest, Answer<T>>,
}

/// What whoever asks will tell all others who want to know.
type Answer<T> = watch::Receiver<Option<Result<T, TokenRefusal>>>;

/// Whoever asks; once this is gone, answered or not, somebody else may.
struct Asking<'a, T> {
    questions: &'a Questions<T>,
    digest: SecretDigest,
    told: watch::Sender<Option<Result<T, TokenRefusal>>>,
}

enum Next<'a, T> {
    Known(Result<T, TokenRefusal>),
    Wait(Answer<T>),
    Ask(Asking<'a, T>),
}

impl Turns {
    async fn take(&self) -> Result<SemaphorePermit<'_>, TokenRefusal> {
        let turn = timeout(PATIENCE, self.0.acquire()).await.ok().and_then(Result::ok);
        turn.ok_or_else(|| TokenRefusal::NotKnown { what: format!("{TURNS} others are being asked about") })
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(TURNS))
    }
}

impl<T: Clone + Ends> Questions<T> {
    /// What was said of a key or token, while it is believed; else what `ask` is told, once its turn has come. Of several who want to
    /// know at once one asks, and the others take what it is told.
    pub(super) async fn verdict(
        &self,
        digest: SecretDigest,
        now: Timestamp,
        turns: &Turns,
        ask: impl Future<Output = Result<T, TokenRefusal>>,
    ) -> Result<T, TokenRefusal> {
        loop {
            match self.next(digest, now) {
                Next::Known(verdict) => return verdict,
                Next::Wait(answer) => match told(answer).await {
                    Some(Ok(good)) if now < good.end() => return Ok(good),
                    Some(Err(refusal)) => return Err(refusal),
                    // It ended while the other asked, or the other went away.
                    Some(Ok(_)) | None => {}
                },
                Next::Ask(asking) => {
                    let verdict = match turns.take().await {
                        Ok(_turn) => ask.await,
                        Err(busy) => Err(busy),
                    };
                    asking.tell(&verdict, now);
                    return verdict;
                }
            }
        }
    }

    fn next(&self, digest: SecretDigest, now: Timestamp) -> Next<'_, T> {
        let mut desk = self.desk();
        if let Some(verdict) = desk.said.get(digest, now) {
            return Next::Known(verdict);
        }
        if let Some(answer) = desk.asked.get(&digest) {
            return Next::Wait(answer.clone());
        }
        let (told, answer) = watch::channel(None);
        desk.asked.insert(digest, answer);
        Next::Ask(Asking { questions: self, digest, told })
    }
}

impl<T: Clone + Ends> Asking<'_, T> {
    fn tell(self, verdict: &Result<T, TokenRefusal>, now: Timestamp) {
        self.questions.desk().said.put(self.digest, verdict.clone(), now);
        self.told.send_replace(Some(verdict.clone()));
    }
}

impl<T> Questions<T> {
    fn desk(&self) -> MutexGuard<'_, Desk<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Asking<'_, T> {
    fn drop(&mut self) {
        self.questions.desk().asked.remove(&self.digest);
    }
}

impl<T> Default for Questions<T> {
    fn default() -> Self {
        Self(Mutex::new(Desk { said: Verdicts::default(), asked: HashMap::new() }))
    }
}

/// What the one who asks is told; nothing if it goes away before.
async fn told<T: Clone>(mut answer: Answer<T>) -> Option<Result<T, TokenRefusal>> {
    let _ = answer.wait_for(Option::is_some).await;
    let told = answer.borrow();
    told.clone()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);

    /// Something that ends in so many seconds.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Good(u64);

    impl Ends for Good {
        fn end(&self) -> Timestamp {
            NOON + Duration::from_secs(self.0)
        }
    }

    #[derive(Default)]
    struct Asked {
        questions: Questions<Good>,
        turns: Turns,
        count: AtomicUsize,
        answer: Notify,
    }

    impl Asked {
        /// One who wants to know, and will be told this once the answer is there.
        async fn want(
            &self,
            secret: &str,
            now: Timestamp,
            said: Result<Good, TokenRefusal>,
        ) -> Result<Good, TokenRefusal> {
            let ask = async {
                self.count.fetch_add(1, Ordering::Relaxed);
                self.answer.notified().await;
                said
            };
            self.questions.verdict(SecretDigest::of(secret), now, &self.turns, ask).await
        }

        fn count(&self) -> usize {
            self.count.load(Ordering::Relaxed)
        }
    }

    fn away() -> TokenRefusal {
        TokenRefusal::NotKnown { what: "away".to_owned() }
    }

    /// Lets all others go as far as they get.
    async fn settle() {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_who_want_to_know_the_same_one_asks_and_tells_the_others_whatever_it_was_told() {
        for said in [Ok(Good(60)), Err(TokenRefusal::Inactive), Err(away())] {
            let asked = Arc::new(Asked::default());
            let all: Vec<_> = (0..100)
                .map(|_| {
                    let (asked, said) = (Arc::clone(&asked), said.clone());
                    tokio::spawn(async move { asked.want("one", NOON, said).await })
                })
                .collect();
            settle().await;
            asked.answer.notify_one();
            for one in all {
                assert_eq!(one.await.expect("no panic"), said);
            }
            assert_eq!(asked.count(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_and_goes_away_leaves_the_question_to_the_next() {
        let asked = Arc::new(Asked::default());
        let want = || {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move { asked.want("one", NOON, Ok(Good(60))).await })
        };
        let first = want();
        settle().await;
        let second = want();
        settle().await;
        assert_eq!(asked.count(), 1);
        first.abort();
        settle().await;
        assert_eq!(asked.count(), 2);
        asked.answer.notify_one();
        assert_eq!(second.await.expect("no panic"), Ok(Good(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_while_another_asked_is_asked_about_again() {
        let asked = Arc::new(Asked::default());
        let want = |now, said| {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move { asked.want("one", now, said).await })
        };
        let first = want(NOON, Ok(Good(5)));
        settle().await;
        let later = want(NOON + Duration::from_secs(5), Err(TokenRefusal::Inactive));
        settle().await;
        asked.answer.notify_one();
        assert_eq!(first.await.expect("no panic"), Ok(Good(5)));
        asked.answer.notify_one();
        assert_eq!(later.await.expect("no panic"), Err(TokenRefusal::Inactive));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_waits_a_second_for_its_turn_and_no_longer() {
        let asked = Arc::new(Asked::default());
        let mut invented: Vec<_> = (0..TURNS)
            .map(|number| {
                let asked = Arc::clone(&asked);
                tokio::spawn(async move {
                    let digest = SecretDigest::of(&number.to_string());
                    asked.questions.verdict(digest, NOON, &asked.turns, pending()).await
                })
            })
            .collect();
        settle().await;
        let honest = SecretDigest::of("honest");
        let want = || asked.questions.verdict(honest, NOON, &asked.turns, ready(Ok(Good(60))));
        let refused = want().await.expect_err("no turn is left");
        assert!(refused.is_ours(), "{refused}");
        let one = invented.pop().expect("one of them");
        let (told, ()) = tokio::join!(want(), async {
            tokio::time::sleep(PATIENCE / 2).await;
            one.abort();
        });
        assert_eq!(told, Ok(Good(60)));
    }
}

//! Requests without end beside a test, each of which must succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

/// How many go on at a time.
const CALLERS: usize = 4;

/// The load, until it is asked how it went.
pub(crate) struct Load {
    callers: JoinSet<Result<(), String>>,
    is_over: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
}

impl Load {
    /// Begins to make requests.
    pub(crate) fn begin<A, W>(request: impl Fn() -> W + Clone + Send + 'static) -> Self
    where
        W: Future<Output = Result<A, String>> + Send,
    {
        let (is_over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (request, is_over, made) = (request.clone(), Arc::clone(&is_over), Arc::clone(&made));
            callers.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    request().await?;
                    made.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            });
        }
        Self { callers, is_over, made }
    }

    /// Ends it: there were requests, and none failed.
    pub(crate) async fn has_failed_none(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for end in self.callers.join_all().await {
            end.unwrap();
        }
        let made = self.made.load(Ordering::Relaxed);
        assert!(made > 20, "{made} requests");
    }
}

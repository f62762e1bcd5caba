//! Handing old events on to the archive, beside everything else and at a pace that renewals do not notice.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use countersign_store::StoreError;

use super::Ca;

/// Rest after each range, in times of what it took: a book of an older release, with millions of events in it, costs a
/// quarter of one core until they have left.
const REST: u32 = 3;

/// How the handing on goes.
#[derive(Debug, Default)]
pub(super) struct HandingOn {
    under_way: AtomicBool,
    failing: Mutex<Option<String>>,
}

impl HandingOn {
    /// Why the last try failed.
    pub(super) fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ended(&self, failing: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
        self.under_way.store(false, Ordering::Release);
    }
}

impl Ca {
    /// Begins to hand on what there is, unless that is under way. Whoever calls does not wait for it; what fails is tried
    /// again at the next call.
    pub fn hand_on_events(self: &Arc<Self>) {
        if self.handing_on.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let ca = Arc::clone(self);
        tokio::spawn(async move {
            let failing = ca.hand_on_all().await.err().and_then(why);
            if let Some(error) = &failing {
                tracing::error!(error, "old events stay in the book");
            }
            ca.handing_on.ended(failing);
        });
    }

    async fn hand_on_all(&self) -> Result<(), StoreError> {
        loop {
            let begun = Instant::now();
            if !self.book().hand_on_events().await?.more {
                return Ok(());
            }
            tokio::time::sleep(begun.elapsed() * REST).await;
        }
    }
}

/// In words, unless it is about the book as a whole, which tells that itself.
fn why(error: StoreError) -> Option<String> {
    match error {
        StoreError::Busy { .. } | StoreError::ReadOnly { .. } | StoreError::Closed => None,
        other => Some(other.to_string()),
    }
}

//! Which identities somebody uses: those are issued and kept warm, the others are not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_identity::{SpiffeId, Timestamp};
use tokio::sync::Notify;

use super::Custody;

/// Who uses what.
#[derive(Debug, Default)]
pub(super) struct Uses {
    by_id: Mutex<BTreeMap<SpiffeId, Use>>,
    pub(super) begun: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    /// How many calls hold it now.
    holders: usize,
    /// When one last took or released it.
    last: Timestamp,
}

impl Uses {
    /// The identities that are held now, or were within `recently`.
    pub(super) fn is_in_use(&self, id: &SpiffeId, now: Timestamp, recently: Duration) -> bool {
        let uses = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        uses.get(id).is_some_and(|it| it.holders > 0 || now.since(it.last) <= recently)
    }

    /// The identities of which this is true.
    pub(super) fn held(&self) -> Vec<SpiffeId> {
        let uses = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        uses.iter().filter(|(_, it)| it.holders > 0).map(|(id, _)| id.clone()).collect()
    }

    /// Nobody will ask for it any more.
    pub(super) fn forget(&self, id: &SpiffeId) {
        let mut uses = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.get(id).is_some_and(|it| it.holders == 0) {
            uses.remove(id);
        }
    }

    fn change(&self, id: &SpiffeId, now: Timestamp, by: impl Fn(usize) -> usize) {
        let mut uses = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let it = uses.entry(id.clone()).or_insert(Use { holders: 0, last: now });
        *it = Use { holders: by(it.holders), last: now };
    }
}

/// Some identities in use, until this is dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    custody: Arc<Custody>,
    ids: Vec<SpiffeId>,
}

impl InUse {
    pub(super) fn begin(custody: &Arc<Custody>, ids: impl IntoIterator<Item = SpiffeId>) -> Self {
        let ids: Vec<_> = ids.into_iter().collect();
        let now = custody.now();
        ids.iter().for_each(|id| custody.uses.change(id, now, |holders| holders.saturating_add(1)));
        custody.uses.begun.notify_one();
        Self { custody: Arc::clone(custody), ids }
    }

    /// Which.
    pub(crate) fn ids(&self) -> &[SpiffeId] {
        &self.ids
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let now = self.custody.now();
        self.ids.iter().for_each(|id| self.custody.uses.change(id, now, |holders| holders.saturating_sub(1)));
    }
}

//! What readers see: the engine, with everything in flight masked by the values that stood before.
//!
//! A reader holds the lock for the length of one query; the committer takes it only to put the mask on and off. So a
//! query sees one moment of the book, never a change before its flush, and never waits for the disk.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::StoreError;
use crate::engine::{Change, Engine, Key, Value};
use crate::recent::Recent;
use crate::rows::{Layer, Page, Rows, merged_page};

/// The masks over the engine.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    masks: RwLock<Masks>,
    recent: Recent,
}

#[derive(Debug, Default)]
struct Masks {
    /// Old values of the keys of the group in flight; kept for good when that group's flush failed.
    flight: Layer,
    /// Old values of all keys changed since a backup began, so that it copies one moment.
    backup: Option<Layer>,
}

impl Shadow {
    /// Hides `changes` until [`Shadow::lift`]. To be called before they reach the engine.
    pub(crate) fn mask(&self, changes: &[Change]) {
        let mut masks = self.masks.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(backup) = &mut masks.backup {
            for change in changes {
                backup.entry(change.key.clone()).or_insert_with(|| change.old.clone());
            }
        }
        masks.flight = changes.iter().map(|c| (c.key.clone(), c.old.clone())).collect();
    }

    /// Lets readers see the group that was in flight.
    pub(crate) fn lift(&self, changes: &[Change]) {
        let mut masks = self.masks.write().unwrap_or_else(PoisonError::into_inner);
        self.recent.replace(changes);
        let seen = std::mem::take(&mut masks.flight);
        drop(masks);
        drop(seen);
    }

    /// Begins to remember what stands now; false if a backup is already under way.
    pub(crate) fn begin_backup(&self) -> bool {
        let mut masks = self.masks.write().unwrap_or_else(PoisonError::into_inner);
        if masks.backup.is_some() {
            return false;
        }
        masks.backup = Some(masks.flight.clone());
        true
    }

    /// Whether a backup is under way.
    pub(crate) fn is_backing_up(&self) -> bool {
        self.masks.read().unwrap_or_else(PoisonError::into_inner).backup.is_some()
    }

    /// Rows read or written lately; for the committer, while nothing is in flight.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Forgets what the backup needed.
    pub(crate) fn end_backup(&self) {
        self.masks.write().unwrap_or_else(PoisonError::into_inner).backup = None;
    }

    /// Runs one query on one moment of the book.
    pub(crate) fn query<T>(&self, engine: &dyn Engine, query: impl FnOnce(&View<'_>) -> T) -> T {
        let masks = self.masks.read().unwrap_or_else(PoisonError::into_inner);
        query(&View { engine, recent: &self.recent, mask: &masks.flight })
    }

    /// One page of the moment at which the backup began.
    pub(crate) fn backup_page(
        &self,
        engine: &dyn Engine,
        from: &[u8],
        to: &[u8],
    ) -> Result<Page, StoreError> {
        let masks = self.masks.read().unwrap_or_else(PoisonError::into_inner);
        let empty = BTreeMap::new();
        merged_page(engine, masks.backup.as_ref().unwrap_or(&empty), from, to)
    }
}

/// The book as one query sees it.
pub(crate) struct View<'a> {
    engine: &'a dyn Engine,
    recent: &'a Recent,
    mask: &'a Layer,
}

impl Rows for View<'_> {
    fn row(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        match self.mask.get(key) {
            Some(old) => Ok(old.clone()),
            None => self.recent.row(self.engine, key),
        }
    }

    fn page(&self, from: &[u8], to: &[u8]) -> Result<(Vec<(Key, Value)>, Option<Key>), StoreError> {
        merged_page(self.engine, self.mask, from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemoryEngine;

    fn change(key: &str, old: Option<&str>, new: Option<&str>) -> Change {
        let value = |text: &str| Value::from(text.as_bytes());
        Change { key: key.as_bytes().to_vec(), old: old.map(value), new: new.map(value) }
    }

    #[test]
    fn a_backup_that_begins_in_mid_flight_copies_what_was_durable_then() {
        let (engine, shadow) = (MemoryEngine::new(), Shadow::default());
        let commit = |changes: &[Change]| {
            shadow.mask(changes);
            engine.apply(changes).unwrap();
        };
        commit(&[change("a", None, Some("1")), change("b", None, Some("1"))]);
        shadow.lift(&[]);
        commit(&[change("a", Some("1"), Some("2"))]);
        assert!(shadow.begin_backup());
        assert!(!shadow.begin_backup(), "one at a time");
        shadow.lift(&[]);
        commit(&[change("b", Some("1"), None), change("c", None, Some("3"))]);
        shadow.lift(&[]);
        commit(&[change("c", Some("3"), Some("4"))]);
        shadow.lift(&[]);
        let (rows, next) = shadow.backup_page(&engine, b"", b"z").unwrap();
        let expected =
            [("a", "1"), ("b", "1")].map(|(k, v)| (k.as_bytes().to_vec(), Value::from(v.as_bytes())));
        assert_eq!((rows, next), (expected.to_vec(), None));
        shadow.end_backup();
        assert!(shadow.begin_backup());
    }
}

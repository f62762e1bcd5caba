//! What commands of one group write on: changes over the engine, with a savepoint for each command.

use std::cell::RefCell;

use crate::StoreError;
use crate::engine::{Change, Engine, Key, LONGEST_VALUE, Value};
use crate::recent::Recent;
use crate::rows::{Layer, Page, Rows, merged_page};

/// The changes of a group so far.
pub(crate) struct Overlay<'a> {
    engine: &'a dyn Engine,
    recent: &'a Recent,
    /// What stood in the engine, for each key looked at.
    before: RefCell<Layer>,
    after: Layer,
    undo: Vec<(Key, Option<Option<Value>>)>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(engine: &'a dyn Engine, recent: &'a Recent) -> Self {
        Self { engine, recent, before: RefCell::default(), after: Layer::new(), undo: Vec::new() }
    }

    /// Sets the point [`Overlay::roll_back`] goes back to.
    pub(crate) fn save(&mut self) {
        self.undo.clear();
    }

    /// Undoes everything since [`Overlay::save`].
    pub(crate) fn roll_back(&mut self) {
        while let Some((key, replaced)) = self.undo.pop() {
            match replaced {
                Some(value) => self.after.insert(key, value),
                None => self.after.remove(&key),
            };
        }
    }

    /// Writes a row, reading first what stood there.
    pub(crate) fn put(&mut self, key: Key, value: Vec<u8>) -> Result<(), StoreError> {
        fits(&value)?;
        self.original(&key)?;
        self.set(key, Some(value.into()));
        Ok(())
    }

    /// Writes a row that is known not to exist yet, which saves the read.
    pub(crate) fn put_new(&mut self, key: Key, value: Vec<u8>) -> Result<(), StoreError> {
        fits(&value)?;
        self.before.get_mut().entry(key.clone()).or_insert(None);
        self.set(key, Some(value.into()));
        Ok(())
    }

    /// Removes a row.
    pub(crate) fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.original(&key)?;
        self.set(key, None);
        Ok(())
    }

    /// All that has changed, with what stood there before.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        let mut before = self.before.into_inner();
        let changed = self.after.into_iter().map(|(key, new)| {
            let old = before.remove(&key).flatten();
            Change { key, old, new }
        });
        changed.filter(|change| change.old != change.new).collect()
    }

    fn set(&mut self, key: Key, value: Option<Value>) {
        let replaced = self.after.insert(key.clone(), value);
        self.undo.push((key, replaced));
    }

    fn original(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        if let Some(known) = self.before.borrow().get(key) {
            return Ok(known.clone());
        }
        let found = self.recent.row(self.engine, key)?;
        self.before.borrow_mut().insert(key.to_vec(), found.clone());
        Ok(found)
    }
}

fn fits(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > LONGEST_VALUE {
        return Err(StoreError::TooLarge { found: value.len(), limit: LONGEST_VALUE });
    }
    Ok(())
}

impl Rows for Overlay<'_> {
    fn row(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        match self.after.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.original(key),
        }
    }

    fn page(&self, from: &[u8], to: &[u8]) -> Result<Page, StoreError> {
        merged_page(self.engine, &self.after, from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemoryEngine;

    fn key(text: &str) -> Key {
        text.as_bytes().to_vec()
    }

    #[test]
    fn a_refused_command_leaves_nothing() {
        let (engine, recent) = (MemoryEngine::new(), Recent::default());
        let mut overlay = Overlay::new(&engine, &recent);
        overlay.put(key("a"), b"1".to_vec()).unwrap();
        overlay.save();
        overlay.put(key("a"), b"2".to_vec()).unwrap();
        overlay.put_new(key("b"), b"2".to_vec()).unwrap();
        overlay.remove(key("a")).unwrap();
        overlay.roll_back();
        assert_eq!(overlay.row(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(overlay.row(b"b").unwrap(), None);
        assert_eq!(overlay.into_changes().len(), 1);
    }

    #[test]
    fn a_scan_sees_the_changes_over_the_engine() {
        let (engine, recent) = (MemoryEngine::new(), Recent::default());
        let rows: Vec<Change> = (0..1000_u32)
            .map(|n| Change { key: n.to_be_bytes().to_vec(), old: None, new: Some(Value::from(&b"x"[..])) })
            .collect();
        engine.apply(&rows).unwrap();
        let mut overlay = Overlay::new(&engine, &recent);
        overlay.remove(255_u32.to_be_bytes().to_vec()).unwrap();
        overlay.put(2000_u32.to_be_bytes().to_vec(), b"y".to_vec()).unwrap();
        let mut seen = Vec::new();
        overlay
            .walk(&[0], &[1], |key, _| {
                seen.push(u32::from_be_bytes(key.try_into().unwrap()));
                Ok(std::ops::ControlFlow::Continue(()))
            })
            .unwrap();
        let expected: Vec<u32> = (0..1000).filter(|n| *n != 255).chain([2000]).collect();
        assert_eq!(seen, expected);
    }
}

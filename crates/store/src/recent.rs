//! Rows read or written lately: one renewal reads the same few in its handshake, its judgement and its command.
//!
//! A row here is the one that is durable, as readers see it. It is filled by readers, under the lock of the mask, from
//! rows that are not in flight; and by the committer while nothing is. What a group changed is replaced before its mask
//! is lifted, under the same lock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::StoreError;
use crate::engine::{Change, Engine, Key, Value};
use crate::keys;

/// Rows of one generation; two are kept. A renewal reads three, of some 600 octets each on the average: a fleet of a few
/// thousand machines is kept whole, in 5 MB at most, and of a larger one whoever is being served.
const GENERATION: usize = 4096;

/// Machines, registrations, issuances and counters: the kinds that are read again soon.
const KINDS: [u8; 4] = [keys::MACHINE, keys::REGISTRATION, keys::ISSUANCE, keys::HOUSEKEEPING];

/// A map of two generations: when the younger is full, the older is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    younger: HashMap<Key, Value>,
    older: HashMap<Key, Value>,
}

impl Recent {
    /// The row as it stands in the engine.
    pub(crate) fn row(&self, engine: &dyn Engine, key: &[u8]) -> Result<Option<Value>, StoreError> {
        if !is_read_again(key) {
            return engine.get(key);
        }
        if let Some(found) = self.lock().get(key) {
            return Ok(Some(found));
        }
        let found = engine.get(key)?;
        if let Some(value) = &found {
            self.lock().put(key, value);
        }
        Ok(found)
    }

    /// Takes up what has become durable.
    pub(crate) fn replace(&self, changes: &[Change]) {
        let mut generations = self.lock();
        for change in changes.iter().filter(|change| is_read_again(&change.key)) {
            match &change.new {
                Some(value) => generations.put(&change.key, value),
                None => generations.forget(&change.key),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&self, key: &[u8]) -> Option<Value> {
        self.younger.get(key).or_else(|| self.older.get(key)).cloned()
    }

    fn put(&mut self, key: &[u8], value: &Value) {
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(key.to_vec(), value.clone());
    }

    fn forget(&mut self, key: &[u8]) {
        self.younger.remove(key);
        self.older.remove(key);
    }
}

fn is_read_again(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| KINDS.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemoryEngine;

    fn change(number: usize, value: Option<&str>) -> Change {
        let key = [b"M".as_slice(), &number.to_be_bytes()].concat();
        Change { key, old: None, new: value.map(|value| Value::from(value.as_bytes())) }
    }

    #[test]
    fn a_row_that_changed_or_went_is_never_found_as_it_was() {
        let (engine, recent) = (MemoryEngine::new(), Recent::default());
        for value in [Some("1"), Some("2"), None, Some("3")] {
            let change = change(7, value);
            engine.apply(std::slice::from_ref(&change)).unwrap();
            recent.replace(std::slice::from_ref(&change));
            assert_eq!(recent.row(&engine, &change.key).unwrap(), change.new);
        }
    }

    #[test]
    fn it_never_holds_more_than_two_generations() {
        let recent = Recent::default();
        for number in 0..GENERATION * 5 {
            recent.replace(&[change(number, Some("x"))]);
        }
        let generations = recent.lock();
        assert!(generations.younger.len() + generations.older.len() <= 2 * GENERATION);
    }
}

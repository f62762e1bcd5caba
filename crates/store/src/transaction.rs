//! What a command holds in its hands: the rows as the group has left them so far, and randomness for salts.

use crate::engine::{Change, Key, Value};
use crate::overlay::Overlay;
use crate::records::Record;
use crate::rows::{Page, Rows};
use crate::{Entropy, StoreError};

/// One group's work, one command at a time.
pub(crate) struct Transaction<'a> {
    overlay: Overlay<'a>,
    entropy: &'a mut Entropy,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(overlay: Overlay<'a>, entropy: &'a mut Entropy) -> Self {
        Self { overlay, entropy }
    }

    /// Runs one command; it leaves all its changes, or none if it fails.
    pub(crate) fn attempt<T, E>(&mut self, command: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.overlay.save();
        let outcome = command(self);
        if outcome.is_err() {
            self.overlay.roll_back();
        }
        outcome
    }

    /// Writes a record.
    pub(crate) fn put<R: Record>(&mut self, key: Key, record: &R) -> Result<(), StoreError> {
        let octets = record.write(&key)?;
        self.overlay.put(key, octets)
    }

    /// Writes a record that is known not to exist yet.
    pub(crate) fn put_new<R: Record>(&mut self, key: Key, record: &R) -> Result<(), StoreError> {
        let octets = record.write(&key)?;
        self.overlay.put_new(key, octets)
    }

    /// Writes bare octets that are known not to exist yet.
    pub(crate) fn put_new_octets(&mut self, key: Key, octets: Vec<u8>) -> Result<(), StoreError> {
        self.overlay.put_new(key, octets)
    }

    /// Writes bare octets.
    pub(crate) fn put_octets(&mut self, key: Key, octets: Vec<u8>) -> Result<(), StoreError> {
        self.overlay.put(key, octets)
    }

    /// Removes a row, if it is there.
    pub(crate) fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.overlay.remove(key)
    }

    /// A salt no one can guess.
    pub(crate) fn salt(&mut self) -> [u8; 16] {
        let mut salt = [0; 16];
        (self.entropy)(&mut salt);
        salt
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.overlay.into_changes()
    }
}

impl Rows for Transaction<'_> {
    fn row(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.overlay.row(key)
    }

    fn page(&self, from: &[u8], to: &[u8]) -> Result<Page, StoreError> {
        self.overlay.page(from, to)
    }
}

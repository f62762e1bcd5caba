//! The layout of the rows, by its number: a book that another release laid out is not touched.

use crate::StoreError;
use crate::engine::{Change, Engine};
use crate::keys;
use crate::records::{Record, corrupt};

/// The layout this code writes.
const LAYOUT: u64 = 1;

/// A book of a newer version is not touched; an empty one is marked.
pub(crate) fn check(engine: &dyn Engine) -> Result<(), StoreError> {
    let Some(octets) = engine.get(keys::FORMAT)? else {
        if !engine.scan(&[], keys::END, 1)?.is_empty() {
            return Err(corrupt(keys::FORMAT, "it is missing"));
        }
        let new = Some(LAYOUT.write(keys::FORMAT)?.into());
        engine.apply(&[Change { key: keys::FORMAT.to_vec(), old: None, new }])?;
        return engine.sync();
    };
    match u64::read(keys::FORMAT, &octets)? {
        LAYOUT => Ok(()),
        found => Err(corrupt(keys::FORMAT, &format!("found layout {found}, expected {LAYOUT}"))),
    }
}

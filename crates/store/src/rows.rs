//! Reading rows: single ones, and ranges page by page, through whatever lies over the engine.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use crate::StoreError;
use crate::engine::{Engine, Key, Value};
use crate::records::Record;

/// Changes lying over the engine: a value, or `None` where a row is gone.
pub(crate) type Layer = BTreeMap<Key, Option<Value>>;

/// Rows in order and, if there may be more, the key to go on from.
pub(crate) type Page = (Vec<(Key, Value)>, Option<Key>);

/// Rows read from the engine at a time.
const PAGE: usize = 256;

/// Something rows can be read from.
pub(crate) trait Rows {
    /// The octets at `key`.
    fn row(&self, key: &[u8]) -> Result<Option<Value>, StoreError>;

    /// Some rows from `from` (inclusive) to `to` (exclusive).
    fn page(&self, from: &[u8], to: &[u8]) -> Result<Page, StoreError>;

    /// The record at `key`.
    fn record<R: Record>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.row(key)?.map(|octets| R::read(key, &octets)).transpose()
    }

    /// Visits the rows from `from` to `to` in order until `visit` breaks.
    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &Value) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut from = from.to_vec();
        loop {
            let (rows, next) = self.page(&from, to)?;
            for (key, value) in &rows {
                if visit(key, value)?.is_break() {
                    return Ok(());
                }
            }
            match next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// Visits every row whose key begins with `prefix`.
    fn walk_prefix(
        &self,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &Value) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        self.walk(prefix, &after_prefix(prefix), visit)
    }
}

/// The first key behind all that begin with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Key {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0xff]
}

/// One page of the engine with `layer` laid over it.
pub(crate) fn merged_page(
    engine: &dyn Engine,
    layer: &Layer,
    from: &[u8],
    to: &[u8],
) -> Result<Page, StoreError> {
    if from >= to {
        return Ok((Vec::new(), None));
    }
    let rows = engine.scan(from, to, PAGE)?;
    let next = match rows.last() {
        Some((last, _)) if rows.len() == PAGE => Some(successor(last)),
        _ => None,
    };
    let end = next.as_deref().unwrap_or(to);
    let mut over = layer.range::<[u8], _>((Bound::Included(from), Bound::Excluded(end))).peekable();
    if over.peek().is_none() {
        return Ok((rows, next));
    }
    let mut merged: BTreeMap<Key, Value> = rows.into_iter().collect();
    for (key, value) in over {
        match value {
            Some(value) => merged.insert(key.clone(), value.clone()),
            None => merged.remove(key),
        };
    }
    Ok((merged.into_iter().collect(), next))
}

/// The smallest key greater than `key`.
pub(crate) fn successor(key: &[u8]) -> Key {
    let mut next = key.to_vec();
    next.push(0);
    next
}

//! Lists in pieces: what a query shows at once, and where the next piece begins.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use countersign_identity::hex;

use crate::StoreError;
use crate::engine::{Key, Value};
use crate::rows::{Rows, after_prefix, successor};

/// Rows one query looks at, at most, however few of them a filter lets through: readers must not hold up the writer.
const LOOKS: usize = 4096;

/// Where a list goes on. Opaque; as text it is hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Key);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Cursor {
    type Err = hex::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self)
    }
}

/// One piece of a list. It may hold fewer entries than asked for, even none, and still go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the rest begins, if there is any.
    pub next: Option<Cursor>,
}

impl<T> Listing<T> {
    /// Gathers what `pick` keeps of the rows that begin with `prefix`.
    pub(crate) fn gather(
        rows: &impl Rows,
        prefix: &[u8],
        after: Option<&Cursor>,
        limit: usize,
        pick: impl FnMut(&[u8], &Value) -> Result<Option<T>, StoreError>,
    ) -> Result<Self, StoreError> {
        Self::gather_range(rows, prefix, &after_prefix(prefix), after, limit, pick)
    }

    /// Gathers what `pick` keeps of the rows from `from` to `to`.
    pub(crate) fn gather_range(
        rows: &impl Rows,
        from: &[u8],
        to: &[u8],
        after: Option<&Cursor>,
        limit: usize,
        mut pick: impl FnMut(&[u8], &Value) -> Result<Option<T>, StoreError>,
    ) -> Result<Self, StoreError> {
        // A cursor comes from outside: it never leads out of the list it belongs to.
        let start = after.map_or(from, |cursor| cursor.0.as_slice()).max(from);
        let mut listing = Self { items: Vec::new(), next: None };
        let mut looks = 0;
        let mut last = None;
        rows.walk(start, to, |key, value| {
            if listing.items.len() >= limit || looks >= LOOKS {
                listing.next = last.take();
                return Ok(ControlFlow::Break(()));
            }
            looks += 1;
            listing.items.extend(pick(key, value)?);
            last = Some(Cursor(successor(key)));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(listing)
    }
}

//! The seam under the book: an ordered map of bytes that applies a batch as one and can be made durable.
//!
//! Commands, indexes and records know only this trait; what sled or memory do with the bytes stays behind it.

mod fjall;
mod journal;
mod memory;
mod sled;

use std::path::Path;
use std::sync::Arc;

pub use fjall::FjallEngine;
pub use memory::MemoryEngine;
pub use sled::SledEngine;

use crate::{StoreError, directory};

/// A key: an ASCII letter that names the kind of row, then what tells rows of that kind apart.
pub type Key = Vec<u8>;

/// The bytes of one row, cheap to hand on.
pub type Value = Arc<[u8]>;

/// Longest value an engine is asked to hold.
pub const LONGEST_VALUE: usize = 512 * 1024;

/// What happens to one key in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The row.
    pub key: Key,
    /// What stood there before, so that an engine need not read before it writes.
    pub old: Option<Value>,
    /// What stands there afterwards; `None` removes the row.
    pub new: Option<Value>,
}

/// Refuses a directory that holds a book of another engine, known by a file that only that one makes: an engine that
/// found none of its own would begin an empty book beside it.
fn refuse_book_of(other: &str, mark: &str, dir: &Path) -> Result<(), StoreError> {
    if !dir.join(mark).exists() {
        return Ok(());
    }
    let why = format!("it holds a book of the engine {other}");
    Err(StoreError::CannotOpen { dir: dir.display().to_string(), why })
}

/// Makes the names in directories durable; the last one is the book's, whose own name is made durable too.
fn sync_names(dirs: &[&Path]) -> Result<(), StoreError> {
    let holding = dirs.last().map(|dir| directory::holding(dir));
    for dir in dirs.iter().copied().chain(holding) {
        directory::sync(dir)
            .map_err(|e| StoreError::CannotOpen { dir: dir.display().to_string(), why: e.to_string() })?;
    }
    Ok(())
}

/// An ordered map of bytes.
///
/// One writer (the committer) calls [`apply`](Engine::apply) and [`sync`](Engine::sync), never both at once; any number
/// of readers call the rest meanwhile. A batch is atomic: after a crash either all of it stands or nothing.
/// When `sync` returns, every batch applied before it survives the loss of power.
pub trait Engine: Send + Sync + std::fmt::Debug + 'static {
    /// The row at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError>;

    /// At most `limit` rows from `from` (inclusive) to `to` (exclusive), in ascending order of their keys.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError>;

    /// Applies all changes as one.
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// Returns once everything applied so far is on the disk.
    fn sync(&self) -> Result<(), StoreError>;
}

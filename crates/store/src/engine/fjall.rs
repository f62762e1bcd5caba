//! The fjall engine: a log-structured merge tree in a directory.
//!
//! A group goes to the journal as one checksummed batch and from there into memory; `sync` is one `fdatasync` of the
//! journal. Sorted tables are written behind, synced with their directory before the journal lets go of what they hold.
//! What a power cut may leave that fjall itself does not expect is put right before it reads anything ([`journal`]), and
//! the directories it makes without syncing them are synced before the first command.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Change, Engine, Key, Value, journal, refuse_book_of, sync_names};
use crate::StoreError;

/// Blocks of tables kept in memory. The rows of machines that renew again are spread over all tables, so this is what
/// the upper levels of their indexes need, not the book's working set.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Rows gathered before they become a table: some 8,000 renewals, and the largest part of what the book holds in memory.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;

/// One thread writes tables and merges them; renewals come first.
const WORKERS: usize = 1;

/// fjall's lock on the directory: a process that is just ending may hold it a moment longer.
const LOCK: &str = "lock";
const LOCK_TRIES: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Keeps the rows in a directory of its own.
pub struct FjallEngine {
    rows: Keyspace,
    database: Database,
}

impl std::fmt::Debug for FjallEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallEngine").finish_non_exhaustive()
    }
}

impl FjallEngine {
    /// Opens the book in `dir`, creating it (mode 0700) if it is not there.
    ///
    /// The directory belongs to one process at a time: a second one gets [`StoreError::Locked`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, MEMTABLE_BYTES)
    }

    /// As [`open`](Self::open), but a new book gathers so many octets of rows before they become a table.
    pub fn open_with(dir: &Path, memtable: u64) -> Result<Self, StoreError> {
        refuse_book_of("sled", "conf", dir)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| cannot_open(dir, &e))?;
        {
            let _alone = lock(dir)?;
            journal::look_over(dir)?;
        }
        let database = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .worker_threads(WORKERS)
            // The committer says when.
            .manual_journal_persist(true)
            .open()
            .map_err(|e| refused_open(dir, &e))?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable);
        let rows = database.keyspace("book", options).map_err(|e| refused_open(dir, &e))?;
        // The names of the files must survive as well as their contents; fjall leaves out these.
        sync_names(&[&dir.join("keyspaces"), dir])?;
        Ok(Self { rows, database })
    }
}

impl Engine for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let found = self.rows.get(key).map_err(|e| failed("read", &e))?;
        Ok(found.map(|value| Value::from(&*value)))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.range(from..to).take(limit).map(|row| {
            let (key, value) = row.into_inner().map_err(|e| failed("read", &e))?;
            Ok((key.to_vec(), Value::from(&*value)))
        });
        rows.collect()
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for Change { key, new, .. } in changes {
            match new {
                Some(value) => batch.insert(&self.rows, key.as_slice(), &**value),
                None => batch.remove(&self.rows, key.as_slice()),
            }
        }
        batch.commit().map_err(|e| failed("write", &e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncData).map_err(|e| failed("sync", &e))
    }
}

/// Holds fjall's own lock while the files are looked over, so that no other process writes them meanwhile.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(dir.join(LOCK)).map_err(|e| cannot_open(dir, &e))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(e)) => return Err(cannot_open(dir, &e)),
        }
    }
    Err(StoreError::Locked { dir: dir.display().to_string() })
}

fn cannot_open(dir: &Path, error: &io::Error) -> StoreError {
    StoreError::CannotOpen { dir: dir.display().to_string(), why: error.to_string() }
}

fn refused_open(dir: &Path, error: &fjall::Error) -> StoreError {
    let (dir, why) = (dir.display().to_string(), in_words(error));
    match error {
        fjall::Error::Locked => StoreError::Locked { dir },
        fjall::Error::Io(_) => StoreError::CannotOpen { dir, why },
        _ => StoreError::Damaged { dir, why },
    }
}

fn failed(doing: &str, error: &fjall::Error) -> StoreError {
    StoreError::Io { doing: format!("{doing} the book"), why: in_words(error) }
}

/// Its own words wrap the system's in Debug output.
fn in_words(error: &fjall::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

//! The sled engine: one tree in a directory, made durable by our own `fdatasync`.
//!
//! sled 0.34's `flush` ends in `sync_file_range`, which does not survive a power cut (spacejam/sled#1351). So this engine
//! holds a second handle on sled's data file and calls `fdatasync` on it after every flush.
//! sled also moves messages above a quarter segment (128 KiB) into files of their own, which that handle would not
//! cover. A leaf holds up to 32 rows between splits, so rows are cut at 3 KiB and stay well below.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::{Change, Engine, Key, Value, refuse_book_of, sync_names};
use crate::StoreError;

/// Longest row handed to sled; what is longer goes on in continuation rows.
const ROW: usize = 3 * 1024;

/// First octet of continuation rows: behind every letter that keys of the book begin with.
const CONTINUATION: u8 = 0xff;

/// sled's default is 1 GiB; the book's working set is live machines and live certificates, about 1 KiB each.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;

/// Keeps the rows in a directory of its own.
#[derive(Debug)]
pub struct SledEngine {
    tree: sled::Tree,
    db: sled::Db,
    data: File,
}

impl SledEngine {
    /// Opens the book in `dir`, creating it (mode 0700) if it is not there.
    ///
    /// The directory belongs to one process at a time: a second one gets [`StoreError::Locked`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        refuse_book_of("fjall", "version", dir)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| cannot_open(dir, &e))?;
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            // The committer flushes; a flush in the background would only compete with it.
            .flush_every_ms(None)
            .open()
            .map_err(|e| refused_open(dir, e))?;
        let data = own_handle(dir).map_err(|e| cannot_open(dir, &e))?;
        let engine = Self { tree: db.open_tree("book").map_err(|e| refused_open(dir, e))?, db, data };
        engine.sync()?;
        // The names of the files must survive as well as their contents, and so must the directory's own.
        sync_names(&[dir])?;
        Ok(engine)
    }

    fn whole(&self, key: &[u8], first: &[u8]) -> Result<Value, StoreError> {
        if first.len() < ROW {
            return Ok(first.into());
        }
        let mut value = first.to_vec();
        for part in 0..=u8::MAX {
            let Some(more) = self.tree.get(continuation(key, part)).map_err(|e| failed("read", &e))? else {
                break;
            };
            value.extend_from_slice(&more);
            if more.len() < ROW {
                break;
            }
        }
        Ok(value.into())
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        match self.tree.get(key).map_err(|e| failed("read", &e))? {
            Some(first) => Ok(Some(self.whole(key, &first)?)),
            None => Ok(None),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        for row in self.tree.range(from..to).take(limit) {
            let (key, first) = row.map_err(|e| failed("read", &e))?;
            let value = self.whole(&key, &first)?;
            rows.push((key.to_vec(), value));
        }
        Ok(rows)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for change in changes {
            write_row(&mut batch, change);
        }
        self.tree.apply_batch(batch).map_err(|e| failed("write", &e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|e| failed("flush", &e))?;
        self.data
            .sync_data()
            .map_err(|e| StoreError::Io { doing: "sync the book to the disk".into(), why: e.to_string() })
    }
}

/// A value of n octets is n / ROW full rows and one shorter row (perhaps empty), so a reader knows where it ends.
fn write_row(batch: &mut sled::Batch, change: &Change) {
    let length = |value: &Option<Value>| value.as_ref().map_or(0, |v| v.len());
    match &change.new {
        None => batch.remove(change.key.as_slice()),
        Some(value) => {
            let first = value.get(..ROW).unwrap_or(value);
            batch.insert(change.key.as_slice(), first);
        }
    }
    let mut written = 0;
    if let Some(rest) = change.new.as_ref().and_then(|value| value.get(ROW..)) {
        let full = rest.chunks(ROW);
        let closing = rest.len().is_multiple_of(ROW).then_some(&[][..]);
        for (part, octets) in (0_u8..).zip(full.chain(closing)) {
            batch.insert(continuation(&change.key, part), octets);
            written += 1;
        }
    }
    let before = length(&change.old) / ROW;
    for part in (0..=u8::MAX).take(before).skip(written) {
        batch.remove(continuation(&change.key, part));
    }
}

fn continuation(key: &[u8], part: u8) -> Key {
    let mut row = Vec::with_capacity(key.len() + 2);
    row.push(CONTINUATION);
    row.extend_from_slice(key);
    row.push(part);
    row
}

fn own_handle(dir: &Path) -> io::Result<File> {
    for name in ["db", "conf"] {
        std::fs::set_permissions(dir.join(name), Permissions::from_mode(0o600))?;
    }
    File::open(dir.join("conf"))?.sync_all()?;
    OpenOptions::new().read(true).write(true).open(dir.join("db"))
}

fn cannot_open(dir: &Path, error: &io::Error) -> StoreError {
    StoreError::CannotOpen { dir: dir.display().to_string(), why: error.to_string() }
}

fn refused_open(dir: &Path, error: sled::Error) -> StoreError {
    match error {
        // sled says so only in words.
        sled::Error::Io(e) if e.to_string().contains("could not acquire lock") => {
            StoreError::Locked { dir: dir.display().to_string() }
        }
        sled::Error::Io(e) => cannot_open(dir, &e),
        other => StoreError::Damaged { dir: dir.display().to_string(), why: other.to_string() },
    }
}

fn failed(doing: &str, error: &sled::Error) -> StoreError {
    let why = match error {
        // Its own words wrap the system's in Debug output.
        sled::Error::Io(e) => e.to_string(),
        other => other.to_string(),
    };
    StoreError::Io { doing: format!("{doing} the book"), why }
}

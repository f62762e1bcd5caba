//! Backups: all rows of one moment in one file, with a checksum, and back from there into a new book.
//!
//! The file is the line `COUNTERSIGN BOOK 1` (or 2, if old events are in files of the archive, which go with it: a release
//! that knows none of those refuses it), then for each row the length of key and value (32 bits, big-endian each)
//! and both, then two lengths of all ones, then SHA-256 of everything before.
//! It holds no key and no invitation in clear, but who has which identity: it is made readable for its owner only.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::committer::Committer;
use crate::engine::{Change, Engine, LONGEST_VALUE, Value};
use crate::rows::{Page, Rows, successor};
use crate::{Archive, Book, Options, StoreError, archive, directory, keys};

const HEAD: &[u8; 19] = b"COUNTERSIGN BOOK 1\n";
const HEAD_WITH_ARCHIVE: &[u8; 19] = b"COUNTERSIGN BOOK 2\n";
const LAST: u32 = u32::MAX;

/// No key of the book is longer than a name and a SPIFFE ID together.
const LONGEST_KEY: usize = 4096;

/// Rows restored in one batch.
const BATCH: usize = 1024;

/// A backup that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// Rows in its file.
    pub rows: u64,
    /// Files of the archive that belong to it, as far as they are there.
    pub archive: Vec<PathBuf>,
}

/// Writes a backup of this moment to `file`, which appears whole or not at all. Commands go on meanwhile.
pub(crate) fn write(
    book: &Committer,
    archive: Option<&Archive>,
    file: &Path,
) -> Result<BackedUp, StoreError> {
    if !book.shadow().begin_backup() {
        return Err(StoreError::BackupRunning);
    }
    let _forget = Ended(book);
    let partial = beside(file);
    let handed_on = archive::handed_on(&Moment(book))?;
    let head = if handed_on > 0 { HEAD_WITH_ARCHIVE } else { HEAD };
    let written = copy(book, head, &partial).and_then(|rows| {
        std::fs::rename(&partial, file)?;
        // The name must survive as well as the contents.
        directory::sync(directory::holding(file))?;
        Ok(rows)
    });
    let rows = written.map_err(|e| {
        // Only this call made the partial file; a failure to remove it changes nothing about the error.
        let _ = std::fs::remove_file(&partial);
        StoreError::Io { doing: format!("write the backup {}", file.display()), why: e.to_string() }
    })?;
    let archive = archive.map(|archive| archive.files(handed_on)).transpose()?.unwrap_or_default();
    Ok(BackedUp { rows, archive })
}

/// The moment at which the backup began.
struct Moment<'a>(&'a Committer);

impl Rows for Moment<'_> {
    fn row(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let (rows, _) = self.page(key, &successor(key))?;
        Ok(rows.into_iter().next().map(|(_, value)| value))
    }

    fn page(&self, from: &[u8], to: &[u8]) -> Result<Page, StoreError> {
        self.0.shadow().backup_page(self.0.engine(), from, to)
    }
}

struct Ended<'a>(&'a Committer);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.shadow().end_backup();
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn copy(book: &Committer, head: &[u8], partial: &Path) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(partial)?;
    let mut out = Hashing { inner: BufWriter::new(file), hash: Sha256::new() };
    out.write_all(head)?;
    let (mut from, mut count) = (Vec::new(), 0);
    loop {
        let page = Moment(book).page(&from, keys::END);
        let (rows, next) = page.map_err(io::Error::other)?;
        for (key, value) in &rows {
            write_length(&mut out, key.len())?;
            write_length(&mut out, value.len())?;
            out.write_all(key)?;
            out.write_all(value)?;
            count += 1;
        }
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    out.write_all(&LAST.to_be_bytes())?;
    out.write_all(&LAST.to_be_bytes())?;
    let digest = out.hash.clone().finalize();
    out.inner.write_all(&digest)?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(count)
}

fn write_length(out: &mut impl Write, length: usize) -> io::Result<()> {
    let length = u32::try_from(length).map_err(io::Error::other)?;
    out.write_all(&length.to_be_bytes())
}

impl Book {
    /// A new book on an empty engine, filled from a backup.
    ///
    /// # Errors
    /// When the engine is not empty, or the file no whole backup.
    pub fn restore_on(file: &Path, engine: Arc<dyn Engine>, options: Options) -> Result<Self, StoreError> {
        restore(file, &*engine)?;
        Self::on(engine, options)
    }
}

/// Reads a whole backup into an empty engine. The file is judged to its end before the first row is written.
pub(crate) fn restore(file: &Path, engine: &dyn Engine) -> Result<u64, StoreError> {
    let bad = |why: String| StoreError::BadBackup { file: file.display().to_string(), why };
    if !engine.scan(&[], keys::END, 1)?.is_empty() {
        return Err(bad("the book it should go into is not empty".into()));
    }
    read(file, |_, _| Ok(())).map_err(|e| bad(e.to_string()))?;
    let mut batch = Vec::new();
    let rows = read(file, |key, value| {
        batch.push(Change { key, old: None, new: Some(value) });
        if batch.len() == BATCH {
            engine.apply(&batch).map_err(io::Error::other)?;
            batch.clear();
        }
        Ok(())
    });
    let rows = rows.map_err(|e| bad(e.to_string()))?;
    engine.apply(&batch)?;
    engine.sync()?;
    Ok(rows)
}

fn read(file: &Path, mut row: impl FnMut(Vec<u8>, Value) -> io::Result<()>) -> io::Result<u64> {
    let mut input = Hashing { inner: BufReader::new(File::open(file)?), hash: Sha256::new() };
    let mut head = [0; HEAD.len()];
    input.read_exact(&mut head)?;
    if head != *HEAD && head != *HEAD_WITH_ARCHIVE {
        return Err(io::Error::other("it does not begin with COUNTERSIGN BOOK 1 or 2"));
    }
    let mut count = 0;
    loop {
        let (key, value) = (read_length(&mut input)?, read_length(&mut input)?);
        if (key, value) == (LAST, LAST) {
            break;
        }
        let key = read_octets(&mut input, key, LONGEST_KEY)?;
        let value = read_octets(&mut input, value, LONGEST_VALUE)?;
        row(key, Arc::from(value))?;
        count += 1;
    }
    let found = input.hash.clone().finalize();
    let mut expected = [0; 32];
    input.inner.read_exact(&mut expected)?;
    if found[..] != expected {
        return Err(io::Error::other("its checksum does not fit its contents"));
    }
    if input.inner.read(&mut [0])? != 0 {
        return Err(io::Error::other("it goes on behind its end"));
    }
    Ok(count)
}

fn read_length(input: &mut impl Read) -> io::Result<u32> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    Ok(u32::from_be_bytes(length))
}

fn read_octets(input: &mut impl Read, length: u32, longest: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).ok().filter(|length| *length <= longest);
    let mut octets = vec![0; length.ok_or_else(|| io::Error::other("a row in it is too long"))?];
    input.read_exact(&mut octets)?;
    Ok(octets)
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(octets)?;
        self.hash.update(octets.get(..written).unwrap_or(octets));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(octets)?;
        self.hash.update(octets.get(..read).unwrap_or_default());
        Ok(read)
    }
}

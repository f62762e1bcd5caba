//! The archive: events that have left the book for files, range by range, and are read as if they had not.
//!
//! A range is written whole and durable before the book says that it was handed on; its rows leave after that, in shares.
//! Wherever that is cut short, each event is in the book or in a file; where it is in both, the book's word on what was
//! handed on decides which of them is told.

mod bundle;
mod place;
mod volume;
mod writing;

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use place::Archive;

use crate::committer::Committer;
use crate::observer::{Observer, Stage};
use crate::records::corrupt;
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{StoreError, StoredEvent, counts, events, keys};
use bundle::BUNDLE;
use place::Range;
use writing::Writing;

/// Rows that leave in one command at most: it holds up others for some four milliseconds, sixteen times for each range.
const SHARE: u64 = 1024;

/// What one turn has handed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandedOn {
    /// Events that left the book for a file.
    pub events: u64,
    /// Whether another turn has something to do.
    pub more: bool,
}

/// How far the handing on has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Mark {
    /// The number of the last event that the archive has.
    #[n(0)]
    handed_on: u64,
    /// The number of the last event whose row has left.
    #[n(1)]
    removed: u64,
}

/// The archive of one book.
pub(crate) struct Keeper {
    archive: Option<Archive>,
    observer: Arc<dyn Observer>,
    alone: Arc<Mutex<()>>,
}

impl Keeper {
    pub(crate) fn of(archive: Option<Archive>, observer: Arc<dyn Observer>) -> Self {
        Self { archive, observer, alone: Arc::default() }
    }

    /// Where the events of a book are that were handed on.
    pub(crate) fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// Hands one range on, if it is time, and lets its rows leave.
    pub(crate) async fn hand_on(&self, book: &Committer) -> Result<HandedOn, StoreError> {
        let Some(archive) = &self.archive else { return Ok(HandedOn::default()) };
        let mut alone = self.alone.clone().lock_owned().await;
        remove(book).await?;
        let (mark, events) = book.query(|view| Ok((mark(view)?, counts::read(view)?.events)))?;
        // What leaves while a backup is written is kept in memory for it.
        let waits = book.shadow().is_backing_up() || mark.removed < mark.handed_on;
        let Some(range) = archive.due(mark.handed_on, events).filter(|_| !waits) else {
            return Ok(HandedOn::default());
        };
        alone = write(book, archive, range, alone).await?;
        self.observer.stage(Stage::AfterArchive);
        book.command(move |tx| note(tx, mark, range)).await?;
        self.observer.stage(Stage::AfterHandingOn);
        remove(book).await?;
        drop(alone);
        let more = archive.due(range.last, events).is_some();
        Ok(HandedOn { events: range.last - mark.handed_on, more })
    }

    /// Events behind number `after`, from wherever they are: fewer than `limit` where they end, or where a file of the
    /// archive does not give the next.
    pub(crate) fn events(
        &self,
        book: &Committer,
        mut after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut found = Vec::new();
        loop {
            let left = limit.saturating_sub(found.len());
            // One look at the book says how far the archive goes, and what stands behind that.
            let (handed_on, rows) = book.query(|view| {
                let handed_on = mark(view)?.handed_on;
                let rows = (after >= handed_on).then(|| events::list(view, after, left)).transpose()?;
                Ok((handed_on, rows))
            })?;
            if let Some(rows) = rows {
                found.extend(rows);
                return Ok(found);
            }
            let archive = self.archive.as_ref().ok_or(StoreError::NoArchive { last: handed_on })?;
            let whole = page(archive, after, handed_on, left, &mut found);
            // What stands before a damaged file is told; whoever asks for what is behind that hears of the file.
            if found.len() >= limit || (whole.is_err() && !found.is_empty()) {
                return Ok(found);
            }
            whole?;
            after = handed_on;
        }
    }
}

/// The number of the last event that is in the archive.
pub(crate) fn handed_on(rows: &impl Rows) -> Result<u64, StoreError> {
    Ok(mark(rows)?.handed_on)
}

impl Archive {
    /// Reads every file to its end and gives the number of events; what is damaged is refused.
    ///
    /// # Errors
    /// Names the first file that is not as it was written.
    pub fn examine(&self) -> Result<u64, StoreError> {
        let mut events = 0;
        for range in self.ranges().map_err(|error| self.unreadable(&error))? {
            volume::examine(self, range)?;
            events += range.last - range.first + 1;
        }
        Ok(events)
    }
}

fn mark(rows: &impl Rows) -> Result<Mark, StoreError> {
    Ok(rows.record(keys::ARCHIVED)?.unwrap_or_default())
}

/// Writes a range to its files, a bundle at a time: it is long, and the book's rows are read as everybody reads them.
async fn write(
    book: &Committer,
    archive: &Archive,
    range: Range,
    alone: OwnedMutexGuard<()>,
) -> Result<OwnedMutexGuard<()>, StoreError> {
    let place = archive.clone();
    let mut writing = aside(archive, move || Writing::begin(&place, range, alone)).await?;
    let mut after = range.first - 1;
    while after < range.last {
        let size = usize::try_from(BUNDLE.min(range.last - after)).unwrap_or_default();
        let rows = book.query(|view| events::list(view, after, size))?;
        after = match rows.last() {
            Some(event) if rows.len() == size => event.seq,
            _ => return Err(corrupt(&keys::event(after + 1), "it, or one soon after it, is missing")),
        };
        writing = aside(archive, move || writing.bundle(&rows)).await?;
    }
    aside(archive, move || writing.finish()).await
}

/// Where blocking does not hold up others. Work that breaks off has written nothing; only at the end of the process is it
/// not begun.
async fn aside<T: Send + 'static>(
    archive: &Archive,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|end| match end.is_cancelled() {
        true => Err(StoreError::Closed),
        false => Err(writing::unwritten(archive.dir(), &end)),
    })
}

/// Says that a range is in the archive, which it is.
fn note(tx: &mut Transaction<'_>, mark: Mark, range: Range) -> Result<(), StoreError> {
    tx.put(keys::ARCHIVED.to_vec(), &Mark { handed_on: range.last, ..mark })
}

/// Lets rows leave that the archive has, as long as no backup is written.
async fn remove(book: &Committer) -> Result<(), StoreError> {
    while !book.shadow().is_backing_up() && book.command(remove_some).await? {}
    Ok(())
}

/// Lets the next rows leave; whether there are more.
fn remove_some(tx: &mut Transaction<'_>) -> Result<bool, StoreError> {
    let mark = mark(tx)?;
    let last = mark.handed_on.min(mark.removed + SHARE);
    if last == mark.removed {
        return Ok(false);
    }
    for seq in mark.removed + 1..=last {
        tx.remove(keys::event(seq))?;
    }
    tx.put(keys::ARCHIVED.to_vec(), &Mark { removed: last, ..mark })?;
    Ok(last < mark.handed_on)
}

/// Adds events behind number `after` and up to `last` from the archive.
fn page(
    archive: &Archive,
    after: u64,
    last: u64,
    limit: usize,
    found: &mut Vec<StoredEvent>,
) -> Result<(), StoreError> {
    let full = found.len().saturating_add(limit);
    let mut next = after.saturating_add(1);
    while next <= last && found.len() < full {
        let range = archive.range_of(next);
        let left = full - found.len();
        next = if volume::read(archive, range, next, left, found)? {
            range.last + 1
        } else {
            behind_gap(archive, range)?.unwrap_or(last + 1)
        };
    }
    Ok(())
}

/// Where the archive begins, if a range before that is missing: old files may have been moved away, but none out of the
/// middle.
fn behind_gap(archive: &Archive, missing: Range) -> Result<Option<u64>, StoreError> {
    let ranges = archive.ranges().map_err(|error| archive.unreadable(&error))?;
    match ranges.first() {
        // The missing one itself, too: a link that leads nowhere is listed.
        Some(older) if older.first <= missing.first => Err(archive.missing(missing)),
        oldest => Ok(oldest.map(|range| range.first)),
    }
}

#[cfg(test)]
mod tests {
    use countersign_identity::Timestamp;

    use super::*;
    use crate::engine::{Engine, MemoryEngine};
    use crate::observer::Unobserved;
    use crate::{Event, events};

    #[tokio::test]
    async fn work_that_breaks_off_is_a_failure_of_the_archive() {
        let error = aside::<()>(&Archive::at("/a"), || panic!("a fault")).await.unwrap_err();
        assert!(matches!(&error, StoreError::ArchiveUnwritten { file, .. } if file == "/a"), "{error}");
    }

    #[tokio::test]
    async fn nothing_leaves_while_a_backup_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(MemoryEngine::new());
        let observer: Arc<dyn Observer> = Arc::new(Unobserved);
        let book =
            Committer::start(engine.clone(), 8, observer.clone(), Box::new(|salt| salt.fill(7))).unwrap();
        let keeper = Keeper::of(Some(Archive::at(dir.path()).with_ranges_of(8, 0)), observer);
        let append = |tx: &mut Transaction<'_>| {
            (0..16).try_for_each(|_| events::append(tx, Event::new("test.event", Timestamp::from_unix(0))))
        };
        book.command(append).await.unwrap();
        assert!(book.shadow().begin_backup());
        assert_eq!(keeper.hand_on(&book).await.unwrap(), HandedOn::default());
        book.shadow().end_backup();
        assert_eq!(keeper.hand_on(&book).await.unwrap(), HandedOn { events: 8, more: true });

        // One that begins between the mark and the rows.
        book.command(|tx| note(tx, mark(tx)?, Range { first: 9, last: 16 })).await.unwrap();
        assert!(book.shadow().begin_backup());
        remove(&book).await.unwrap();
        assert_eq!(engine.scan(b"E", b"F", 99).unwrap().len(), 8);
        book.shadow().end_backup();
        remove(&book).await.unwrap();
        assert_eq!(engine.scan(b"E", b"F", 99).unwrap(), []);
    }
}

//! A volume: one range of events in its two files, read bundle by bundle.
//!
//! One line is one event: its exact bytes, which as canonical JSON have no line break. In the file beside it one line is
//! what is personal about one event, for those that have something; without that file the commitments stand alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;

use countersign_identity::hex;
use serde::{Deserialize, Serialize};

use super::bundle::{BUNDLE, length_at, unpack_at};
use super::place::{Archive, Range};
use crate::{Personal, StoreError, StoredEvent};

/// What is personal about one event.
#[derive(Serialize, Deserialize)]
struct Told {
    seq: u64,
    personal: Vec<Field>,
}

#[derive(Serialize, Deserialize)]
struct Field {
    field: String,
    salt: String,
    value: String,
}

/// Reads the events of a range from number `from` on, `limit` of them at most; false if the range is not there.
pub(super) fn read(
    archive: &Archive,
    range: Range,
    from: u64,
    limit: usize,
    events: &mut Vec<StoredEvent>,
) -> Result<bool, StoreError> {
    let path = archive.events(range);
    let Some(file) = opened(&path)? else { return Ok(false) };
    let until = from.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX));
    let mut personal = personal(archive, range, from, until)?;
    let read = bundles(&file, range, from, |numbers, text| {
        for (seq, line) in (numbers.first..).zip(lines(numbers, text)?) {
            if (from..until).contains(&seq) {
                let personal = personal.remove(&seq).unwrap_or_default();
                events.push(StoredEvent { seq, bytes: line.into(), personal });
            }
        }
        Ok(if numbers.last + 1 < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    read.map(|()| true).map_err(|error| bad_events(&path, range, error))
}

/// Reads both files of a range to their ends, whether they are whole.
pub(super) fn examine(archive: &Archive, range: Range) -> Result<(), StoreError> {
    let path = archive.events(range);
    let file = opened(&path)?.ok_or_else(|| archive.missing(range))?;
    each_text(&file, range, |_, _| Ok(())).map_err(|error| bad_events(&path, range, error))?;
    let path = archive.personal(range);
    let Some(file) = opened(&path)? else { return Ok(()) };
    each_personal(&file, range, range.first, u64::MAX, |_, _| ()).map_err(|error| bad_personal(&path, error))
}

/// Visits the texts of the events of a range, bundle by bundle.
pub(super) fn each_text(
    file: &File,
    range: Range,
    mut visit: impl FnMut(Range, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    bundles(file, range, range.first, |numbers, text| {
        lines(numbers, text).map(drop)?;
        visit(numbers, text).map(ControlFlow::Continue)
    })
}

/// Visits what a file says is personal.
pub(super) fn each_personal(
    file: &File,
    range: Range,
    from: u64,
    until: u64,
    mut visit: impl FnMut(u64, Vec<Personal>),
) -> io::Result<()> {
    bundles(file, range, from, |numbers, text| {
        for line in text.split_inclusive(|octet| *octet == b'\n') {
            let told: Told = serde_json::from_slice(line)?;
            if !(numbers.first..=numbers.last).contains(&told.seq) {
                return Err(io::Error::other(format!("{} is not where it belongs", told.seq)));
            }
            let personal: io::Result<_> = told.personal.into_iter().map(Field::read).collect();
            visit(told.seq, personal?);
        }
        Ok(if numbers.last + 1 < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
}

/// The line that says what is personal about an event; none if nothing is.
pub(super) fn personal_line(event: &StoredEvent) -> io::Result<Vec<u8>> {
    if event.personal.is_empty() {
        return Ok(Vec::new());
    }
    let personal = event.personal.iter().map(Field::write).collect();
    let mut line = serde_json::to_vec(&Told { seq: event.seq, personal })?;
    line.push(b'\n');
    Ok(line)
}

impl Field {
    fn write(personal: &Personal) -> Self {
        let Personal { field, salt, value } = personal;
        Self { field: field.clone(), salt: hex::encode(salt), value: value.clone() }
    }

    fn read(self) -> io::Result<Personal> {
        let salt = hex::decode(&self.salt).ok().and_then(|salt| salt.try_into().ok());
        let salt = salt.ok_or_else(|| io::Error::other("a salt is not sixteen octets"))?;
        Ok(Personal { field: self.field, salt, value: self.value })
    }
}

/// A file, if it is there.
pub(super) fn opened(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(path, error, String::new())),
    }
}

fn personal(
    archive: &Archive,
    range: Range,
    from: u64,
    until: u64,
) -> Result<BTreeMap<u64, Vec<Personal>>, StoreError> {
    let mut all = BTreeMap::new();
    let path = archive.personal(range);
    let Some(file) = opened(&path)? else { return Ok(all) };
    let read = each_personal(&file, range, from, until, |seq, personal| {
        all.insert(seq, personal);
    });
    read.map_err(|error| bad_personal(&path, error))?;
    Ok(all)
}

/// Visits the bundles that hold number `from` and later ones, until `visit` breaks.
fn bundles(
    file: &File,
    range: Range,
    from: u64,
    mut visit: impl FnMut(Range, &[u8]) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let (mut at, mut first) = (0, range.first);
    while first <= range.last {
        let numbers = Range { first, last: range.last.min(first + BUNDLE - 1) };
        let length = length_at(file, at)?;
        let end = at + length as u64;
        // Before the last is told: nobody who has all events comes back to hear of it.
        if numbers.last == range.last && file.metadata()?.len() > end {
            return Err(io::Error::other(format!("it goes on behind its end at octet {end}")));
        }
        if numbers.last >= from && visit(numbers, &unpack_at(file, at, length)?)?.is_break() {
            return Ok(());
        }
        at = end;
        first = numbers.last + 1;
    }
    Ok(())
}

/// The events of a bundle, each of which says its number.
fn lines(numbers: Range, text: &[u8]) -> io::Result<impl Iterator<Item = &[u8]>> {
    let mut next = numbers.first;
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        // Quotation marks within a text are escaped: what looks like the field is the field.
        let said = format!("\"seq\":{next}");
        if !line.ends_with(b"\n") || !line.split(|octet| *octet == b',').any(|field| field == said.as_bytes())
        {
            return Err(io::Error::other(format!("there is another event in the place of {next}")));
        }
        next += 1;
    }
    if next != numbers.last + 1 {
        let found = next - numbers.first;
        return Err(io::Error::other(format!(
            "{found} events stand in place of {} to {}",
            numbers.first, numbers.last
        )));
    }
    Ok(text.split_inclusive(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line)))
}

fn bad_events(path: &Path, range: Range, error: io::Error) -> StoreError {
    let remedy = format!("put it back from a backup; until then `--after {}` shows later events", range.last);
    bad(path, error, remedy)
}

fn bad_personal(path: &Path, error: io::Error) -> StoreError {
    bad(path, error, "put it back from a backup, or move it away: then these events show commitments".into())
}

/// What the system refuses is not damage.
fn bad(path: &Path, error: io::Error, remedy: String) -> StoreError {
    let (file, why) = (path.display().to_string(), error.to_string());
    match error.raw_os_error() {
        Some(_) => StoreError::ArchiveUnreadable { file, why },
        None => StoreError::ArchiveDamaged { file, why, remedy },
    }
}

//! The place: a directory with two files for each range of events, their exact bytes and what is personal about them.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::{StoreError, directory};

/// Numbers of one file: 64 bundles, some three megabytes. Part of the format; never changed.
const RANGE: u64 = 16_384;

/// The newest events, which stay in the book at least: whoever follows them touches no file.
const WINDOW: u64 = 16_384;

const EVENTS: &str = ".jsonl.gz";
const PERSONAL: &str = ".personal.jsonl.gz";

/// Where events go when they are no longer new: a directory of its own, which is made when the first of them leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    dir: PathBuf,
    range: u64,
    window: u64,
}

/// The numbers of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Archive {
    /// The archive in a directory.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), range: RANGE, window: WINDOW }
    }

    /// The same with files of `range` events each, and `window` events that stay in the book: for tests, which have few. A
    /// book keeps to the range that it began with.
    #[must_use]
    pub fn with_ranges_of(self, range: u64, window: u64) -> Self {
        Self { range: range.max(1), window, ..self }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The range that number `seq` (from 1) belongs to.
    pub(super) fn range_of(&self, seq: u64) -> Range {
        let before = seq.saturating_sub(1) / self.range * self.range;
        Range { first: before.saturating_add(1), last: before.saturating_add(self.range) }
    }

    /// The range behind the first `handed_on` events, if it can leave a book with so many.
    pub(super) fn due(&self, handed_on: u64, events: u64) -> Option<Range> {
        let range = self.range_of(handed_on.saturating_add(1));
        (range.last.saturating_add(self.window) <= events).then_some(range)
    }

    /// The file with the exact bytes of a range.
    pub(super) fn events(&self, range: Range) -> PathBuf {
        self.dir.join(range.name(EVENTS))
    }

    /// The file with what its commitments stand for.
    pub(super) fn personal(&self, range: Range) -> PathBuf {
        self.dir.join(range.name(PERSONAL))
    }

    /// The ranges whose events are there, in order.
    pub(super) fn ranges(&self) -> io::Result<Vec<Range>> {
        let names = match directory::names(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut ranges: Vec<_> = names.iter().filter_map(|name| self.range_in(name.to_str()?)).collect();
        ranges.sort_by_key(|range| range.first);
        Ok(ranges)
    }

    /// The files that hold the first `handed_on` events, as far as they are there.
    pub(crate) fn files(&self, handed_on: u64) -> Result<Vec<PathBuf>, StoreError> {
        let ranges = self.ranges().map_err(|error| self.unreadable(&error))?;
        let held = ranges.into_iter().filter(|range| range.last <= handed_on);
        let both = held.flat_map(|range| [self.events(range), self.personal(range)]);
        let there = both.filter_map(|file| match file.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // A link that leads nowhere is there: who copies it must fail, not do without.
            Err(error) => Some(Err(self.unreadable(&error))),
            Ok(_) => Some(Ok(file)),
        });
        there.collect()
    }

    /// Whether a file of this name belongs to an archive.
    pub fn is_named(name: &str) -> bool {
        let stem = name.strip_suffix(PERSONAL).or_else(|| name.strip_suffix(EVENTS));
        stem.and_then(numbers).is_some()
    }

    fn range_in(&self, name: &str) -> Option<Range> {
        let range = numbers(name.strip_suffix(EVENTS)?)?;
        (range == self.range_of(range.first)).then_some(range)
    }

    /// Says that a range is not there.
    pub(super) fn missing(&self, range: Range) -> StoreError {
        let Range { first, last } = range;
        StoreError::ArchiveMissing { file: self.events(range).display().to_string(), first, last }
    }

    pub(super) fn unreadable(&self, error: &io::Error) -> StoreError {
        let (file, why) = (self.dir.display().to_string(), error.to_string());
        StoreError::ArchiveUnreadable { file, why }
    }
}

impl Range {
    fn name(self, suffix: &str) -> String {
        format!("{:012}-{:012}{suffix}", self.first, self.last)
    }
}

/// The numbers that the beginning of a name says: exactly as they are written there.
fn numbers(stem: &str) -> Option<Range> {
    let (first, last) = stem.split_once('-')?;
    let range = Range { first: first.parse().ok()?, last: last.parse().ok()? };
    (range.name("") == stem && range.first <= range.last).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_belongs_to_one_aligned_range_and_its_file_says_so() {
        let archive = Archive::at("/e");
        for (seq, first, last) in
            [(1, 1, 16_384), (16_384, 1, 16_384), (16_385, 16_385, 32_768), (99_999, 98_305, 114_688)]
        {
            assert_eq!(archive.range_of(seq), Range { first, last });
        }
        let file = archive.events(archive.range_of(5));
        assert_eq!(file, Path::new("/e/000000000001-000000016384.jsonl.gz"));
    }

    #[test]
    fn only_whole_ranges_leave_and_the_newest_stay() {
        let archive = Archive::at("/e");
        assert_eq!(archive.due(0, 32_767), None);
        assert_eq!(archive.due(0, 32_768), Some(Range { first: 1, last: 16_384 }));
        assert_eq!(archive.due(16_384, 49_151), None);
    }

    #[test]
    fn a_name_is_known_only_exactly_as_it_is_written() {
        for good in ["000000000001-000000016384.jsonl.gz", "000000016385-000000032768.personal.jsonl.gz"] {
            assert!(Archive::is_named(good), "{good}");
        }
        for bad in [
            "1-16384.jsonl.gz",
            "000000000001-000000016384.jsonl",
            "000000000001-000000016384.jsonl.gz.partial",
            ".000000000001-000000016384.jsonl.gz",
            "+00000000001-000000016384.jsonl.gz",
            "000000016384-000000000001.jsonl.gz",
            "",
        ] {
            assert!(!Archive::is_named(bad), "{bad}");
        }
    }
}

//! Writing a volume: beside its names, synced, read again, and only then given its names.

use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::bundle::pack;
use super::place::{Archive, Range};
use super::volume;
use crate::{StoreError, StoredEvent, directory};

/// A volume in the making. Nobody else makes one meanwhile; what is not finished is removed.
pub(super) struct Writing {
    archive: Archive,
    range: Range,
    events: Part,
    personal: Part,
    next: u64,
    /// Let go after the rest.
    alone: OwnedMutexGuard<()>,
}

/// One file, under a name of its own until it is whole.
struct Part {
    path: PathBuf,
    aside: PathBuf,
    file: File,
}

impl Writing {
    /// Begins the volume of a range.
    pub(super) fn begin(
        archive: &Archive,
        range: Range,
        alone: OwnedMutexGuard<()>,
    ) -> Result<Self, StoreError> {
        let dir = archive.dir();
        make(dir).map_err(|error| unwritten(dir, &error))?;
        let events = Part::begin(archive.events(range))?;
        let personal = Part::begin(archive.personal(range))?;
        Ok(Self { archive: archive.clone(), range, events, personal, next: range.first, alone })
    }

    /// Writes the next events, as one bundle.
    pub(super) fn bundle(mut self, events: &[StoredEvent]) -> Result<Self, StoreError> {
        let (mut text, mut told) = (Vec::new(), Vec::new());
        let failed = |error: &io::Error| unwritten(&self.events.path, error);
        for event in events {
            if event.seq != self.next {
                let what = format!("event {} is not there", self.next);
                return Err(StoreError::Corrupt { what });
            }
            text.extend_from_slice(&event.bytes);
            text.push(b'\n');
            told.extend(volume::personal_line(event).map_err(|error| failed(&error))?);
            self.next += 1;
        }
        self.events.bundle(&text)?;
        self.personal.bundle(&told)?;
        Ok(self)
    }

    /// Makes the volume durable and gives it its names. The events' comes last.
    ///
    /// # Errors
    /// When the disk refuses, or when other events stand under that name already.
    pub(super) fn finish(self) -> Result<OwnedMutexGuard<()>, StoreError> {
        self.events.sync()?;
        self.personal.sync()?;
        self.read_again()?;
        self.compare()?;
        self.personal.give_name()?;
        self.events.give_name()?;
        // The directory's own name too: who made it may have been killed before that was durable.
        let dir = self.archive.dir();
        directory::sync(dir)
            .and_then(|()| directory::sync(directory::holding(dir)))
            .map_err(|error| unwritten(dir, &error))?;
        Ok(self.alone)
    }

    /// What was written can be read, to its end.
    fn read_again(&self) -> Result<(), StoreError> {
        let Self { range, events, personal, .. } = self;
        let read = |part: &Part, each: &dyn Fn(&File) -> io::Result<()>| {
            let read = File::open(&part.aside).and_then(|file| each(&file));
            read.map_err(|error| unwritten(&part.path, &error))
        };
        read(events, &|file| volume::each_text(file, *range, |_, _| Ok(())))?;
        read(personal, &|file| volume::each_personal(file, *range, range.first, u64::MAX, |_, _| ()))
    }

    /// What stands under the name already is the same: the process was killed before the book knew. Other events there are
    /// never written over; a file that cannot be read holds none.
    fn compare(&self) -> Result<(), StoreError> {
        let Self { range, events, .. } = self;
        let Some(older) = volume::opened(&events.path)? else { return Ok(()) };
        let mut texts = Vec::new();
        let read = volume::each_text(&older, *range, |_, text| {
            texts.push(Sha256::digest(text));
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(error) if error.raw_os_error().is_some() => return Err(unwritten(&events.path, &error)),
            Err(error) => {
                let file = events.path.display().to_string();
                tracing::warn!(file, %error, "a damaged file of the archive is written anew: the book still holds its events");
                return Ok(());
            }
        }
        let mut older = texts.into_iter();
        let ours = File::open(&events.aside).and_then(|file| {
            volume::each_text(&file, *range, |_, text| match older.next() {
                Some(other) if other == Sha256::digest(text) => Ok(()),
                _ => Err(io::Error::other(
                    "it holds other events than the book: move it away and find out whose it is",
                )),
            })
        });
        ours.map_err(|error| unwritten(&events.path, &error))
    }
}

impl Part {
    fn begin(path: PathBuf) -> Result<Self, StoreError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let aside = path.with_file_name(name);
        let made = match fs::remove_file(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            // What a crash has left.
            _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside),
        };
        match made {
            Ok(file) => Ok(Self { path, aside, file }),
            Err(error) => Err(unwritten(&path, &error)),
        }
    }

    fn bundle(&mut self, text: &[u8]) -> Result<(), StoreError> {
        let written = pack(text).and_then(|packed| self.file.write_all(&packed));
        written.map_err(|error| unwritten(&self.path, &error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|error| unwritten(&self.path, &error))
    }

    fn give_name(&self) -> Result<(), StoreError> {
        fs::rename(&self.aside, &self.path).map_err(|error| unwritten(&self.path, &error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After its renaming nothing stands there any more; what cannot be removed is at the next try.
        let _ = fs::remove_file(&self.aside);
    }
}

/// The directory, readable for its owner only.
fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

pub(super) fn unwritten(path: &Path, error: &impl Display) -> StoreError {
    StoreError::ArchiveUnwritten { file: path.display().to_string(), why: error.to_string() }
}

//! Backing up: the book of one moment and everything an operator would miss, in one tar file.
//!
//! The unlock secret is left out: a backup that is stolen cannot sign. Whoever restores it needs the root's
//! passphrase, with which new online keys are made.

use std::{
    fs::{self, File},
    io::{Error, ErrorKind},
    path::{Path, PathBuf},
};

use countersign_identity::hex;
use rustix::fs::statvfs;

use super::{Ca, Refused};
use crate::config::directory;

/// Octets that a backup leaves free beside the book, which goes on meanwhile: as much as `check` wants at least.
const RESERVE: u64 = 128 << 20;

impl Ca {
    /// Writes a backup aside in the state directory and returns where; the caller moves or streams it.
    ///
    /// # Errors
    /// When a file cannot be read or written, there is no room for it, or another backup is under way.
    pub fn write_backup(&self) -> Result<PathBuf, Refused> {
        let name = format!(".backup.{}", hex::encode(&self.entropy().octets::<8>()));
        let file = self.state().path().join(&name);
        let book = self.state().path().join(format!("{name}.book"));
        let written = self.book().backup(&book).map_err(Refused::from).and_then(|backed_up| {
            refuse_without_room(&book, &backed_up.archive)?;
            self.pack(&file, &book, &backed_up.archive)
                .map_err(|e| Refused::File(format!("{}: {e}", file.display())))
        });
        // What is left of a failed backup helps nobody.
        let _ = fs::remove_file(&book);
        if written.is_err() {
            let _ = fs::remove_file(&file);
        }
        written.map(|()| file)
    }

    fn pack(&self, file: &Path, book: &Path, events: &[PathBuf]) -> std::io::Result<()> {
        let config = self.config();
        let state = self.state();
        let mut tar = packing(File::options().write(true).create_new(true).open(file)?);
        tar.append_path_with_name(book, "book.backup")?;
        tar.append_path_with_name(&config.file, "countersign.toml")?;
        append(&mut tar, "profiles".as_ref(), &config.profiles)?;
        tar.append_path_with_name(state.root_certificate(), "state/root.pem")?;
        tar.append_path_with_name(state.roots_documents(), "state/roots.json")?;
        append(&mut tar, "state/keys".as_ref(), &state.keys())?;
        append(&mut tar, "state/issuers".as_ref(), &state.issuers())?;
        append(&mut tar, "state/trust".as_ref(), &state.trust_signers())?;
        // The newest first: whoever moves the oldest away meanwhile leaves no gap between others.
        for events in events.iter().rev() {
            append_events(&mut tar, events)?;
        }
        tar.into_inner()?.sync_all()
    }
}

/// A tar of plain files: `restore` takes no others, and one with holes would be packed as something else.
fn packing(file: File) -> tar::Builder<File> {
    let mut tar = tar::Builder::new(file);
    tar.sparse(false);
    tar
}

/// Refuses where writing a backup of this copy of the book and these files beside it would fill the disk: a book that meets a
/// full disk takes no more writes.
fn refuse_without_room(book: &Path, events: &[PathBuf]) -> Result<(), Refused> {
    // What cannot be looked at is told by the packing.
    let length = |file: &Path| fs::metadata(file).map_or(0, |file| file.len());
    let octets = events.iter().fold(length(book), |sum, file| sum.saturating_add(length(file)));
    match statvfs(book) {
        // Some file systems do not say.
        Ok(found) if found.f_blocks > 0 => room(found.f_bavail.saturating_mul(found.f_frsize), octets),
        _ => Ok(()),
    }
}

fn room(free: u64, octets: u64) -> Result<(), Refused> {
    let needed = octets.saturating_add(RESERVE);
    if free >= needed {
        return Ok(());
    }
    Err(Refused::Backup(format!(
        "a backup needs {} MiB beside the book in the state directory, {} MiB are free there",
        needed.div_ceil(1 << 20),
        free >> 20
    )))
}

/// Appends a file of the archive, unless it was moved away since it was listed.
fn append_events(tar: &mut tar::Builder<File>, events: &Path) -> std::io::Result<()> {
    let gone = |error: &Error| error.kind() == ErrorKind::NotFound;
    let mut file = match File::open(events) {
        // A link that leads nowhere was not moved away.
        Err(error) if gone(&error) && fs::symlink_metadata(events).is_err_and(|e| gone(&e)) => return Ok(()),
        other => other.map_err(|error| Error::new(error.kind(), format!("{}: {error}", events.display())))?,
    };
    tar.append_file(Path::new("state/events").join(events.file_name().unwrap_or_default()), &mut file)
}

/// Appends a directory with all that is in it.
fn append(tar: &mut tar::Builder<File>, name: &Path, dir: &Path) -> std::io::Result<()> {
    tar.append_dir(name, dir)?;
    for path in directory::entries(dir)? {
        let name = name.join(path.file_name().unwrap_or_default());
        // What cannot be looked at is no file: a backup would lack what is in it.
        let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
        if fs::metadata(&path).map_err(named)?.is_dir() {
            append(tar, &name, &path)?;
        } else {
            tar.append_path_with_name(&path, name).map_err(named)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_would_fill_the_disk_is_refused_in_words() {
        room(RESERVE + 5, 5).unwrap();
        let refusal = room(RESERVE + 4, 5).unwrap_err().to_string();
        for words in ["needs 129 MiB", "128 MiB are free"] {
            assert!(refusal.contains(words), "{refusal}");
        }
        room(u64::MAX - 1, u64::MAX).unwrap_err();
    }

    #[test]
    fn a_file_with_holes_is_packed_as_a_plain_one() {
        let dir = tempfile::tempdir().unwrap();
        let holed = dir.path().join("holed");
        File::create(&holed).unwrap().set_len(1 << 20).unwrap();
        let packed = dir.path().join("tar");
        let mut tar = packing(File::create(&packed).unwrap());
        append_events(&mut tar, &holed).unwrap();
        tar.finish().unwrap();
        let mut tar = tar::Archive::new(File::open(&packed).unwrap());
        let kinds: Vec<_> = tar.entries().unwrap().map(|one| one.unwrap().header().entry_type()).collect();
        assert_eq!(kinds, [tar::EntryType::Regular]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_out_and_a_link_that_leads_nowhere_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (there, link) = (dir.path().join("there"), dir.path().join("link"));
        fs::write(&there, "events").unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let packed = dir.path().join("tar");
        let mut tar = packing(File::create(&packed).unwrap());
        append_events(&mut tar, &dir.path().join("moved")).unwrap();
        append_events(&mut tar, &there).unwrap();
        let error = append_events(&mut tar, &link).unwrap_err().to_string();
        assert!(error.contains("link: "), "{error}");
        tar.finish().unwrap();
        let mut tar = tar::Archive::new(File::open(&packed).unwrap());
        let names = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
        assert_eq!(names.collect::<Vec<_>>(), [Path::new("state/events/there")]);
    }
}

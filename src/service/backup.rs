//! Backing up: the book of one moment and everything an operator would miss, in one tar file.
//!
//! The unlock secret is left out: a backup that is stolen cannot sign. Whoever restores it needs the root's
//! passphrase, with which new online keys are made.

use std::{
    fs::File,
    io::Error,
    path::{Path, PathBuf},
};

use countersign_identity::hex;

use super::{Ca, Refused};
use crate::config::directory;

impl Ca {
    /// Writes a backup aside in the state directory and returns where; the caller moves or streams it.
    ///
    /// # Errors
    /// When a file cannot be read or written, or another backup is under way.
    pub fn write_backup(&self) -> Result<PathBuf, Refused> {
        let name = format!(".backup.{}", hex::encode(&self.entropy().octets::<8>()));
        let file = self.state().path().join(&name);
        let book = self.state().path().join(format!("{name}.book"));
        let written = self.book().backup(&book).map_err(Refused::from).and_then(|backed_up| {
            self.pack(&file, &book, &backed_up.archive)
                .map_err(|e| Refused::File(format!("{}: {e}", file.display())))
        });
        // What is left of a failed backup helps nobody.
        let _ = std::fs::remove_file(&book);
        if written.is_err() {
            let _ = std::fs::remove_file(&file);
        }
        written.map(|()| file)
    }

    fn pack(&self, file: &Path, book: &Path, events: &[PathBuf]) -> std::io::Result<()> {
        let config = self.config();
        let state = self.state();
        let mut tar = tar::Builder::new(File::options().write(true).create_new(true).open(file)?);
        tar.append_path_with_name(book, "book.backup")?;
        tar.append_path_with_name(&config.file, "countersign.toml")?;
        append(&mut tar, "profiles".as_ref(), &config.profiles)?;
        tar.append_path_with_name(state.root_certificate(), "state/root.pem")?;
        tar.append_path_with_name(state.roots_documents(), "state/roots.json")?;
        append(&mut tar, "state/keys".as_ref(), &state.keys())?;
        append(&mut tar, "state/issuers".as_ref(), &state.issuers())?;
        append(&mut tar, "state/trust".as_ref(), &state.trust_signers())?;
        for events in events {
            let name = Path::new("state/events").join(events.file_name().unwrap_or_default());
            tar.append_path_with_name(events, name)?;
        }
        tar.into_inner()?.sync_all()
    }
}

/// Appends a directory with all that is in it.
fn append(tar: &mut tar::Builder<File>, name: &Path, dir: &Path) -> std::io::Result<()> {
    tar.append_dir(name, dir)?;
    for path in directory::entries(dir)? {
        let name = name.join(path.file_name().unwrap_or_default());
        // What cannot be looked at is no file: a backup would lack what is in it.
        let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
        if std::fs::metadata(&path).map_err(named)?.is_dir() {
            append(tar, &name, &path)?;
        } else {
            tar.append_path_with_name(&path, name).map_err(named)?;
        }
    }
    Ok(())
}

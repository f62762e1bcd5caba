//! Backing up: the book of one moment and everything an operator would miss, in one tar file.
//!
//! The unlock secret is left out: a backup that is stolen cannot sign. Whoever restores it needs the root's
//! passphrase, with which new online keys are made.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use countersign_identity::hex;

use super::{Ca, Refused};

impl Ca {
    /// Writes a backup aside in the state directory and returns where; the caller moves or streams it.
    ///
    /// # Errors
    /// When a file cannot be read or written, or another backup is under way.
    pub fn write_backup(&self) -> Result<PathBuf, Refused> {
        let name = format!(".backup.{}", hex::encode(&self.entropy().octets::<8>()));
        let file = self.state().path().join(&name);
        let book = self.state().path().join(format!("{name}.book"));
        let written = self.book().backup(&book).map_err(Refused::from).and_then(|_rows| {
            self.archive(&file, &book).map_err(|e| Refused::File(format!("{}: {e}", file.display())))
        });
        // What is left of a failed backup helps nobody.
        let _ = std::fs::remove_file(&book);
        if written.is_err() {
            let _ = std::fs::remove_file(&file);
        }
        written.map(|()| file)
    }

    fn archive(&self, file: &Path, book: &Path) -> std::io::Result<()> {
        let config = self.config();
        let state = self.state();
        let mut tar = tar::Builder::new(File::options().write(true).create_new(true).open(file)?);
        tar.append_path_with_name(book, "book.backup")?;
        tar.append_path_with_name(&config.file, "countersign.toml")?;
        tar.append_dir_all("profiles", &config.profiles)?;
        tar.append_path_with_name(state.root_certificate(), "state/root.pem")?;
        tar.append_path_with_name(state.roots_documents(), "state/roots.json")?;
        tar.append_dir_all("state/keys", state.keys())?;
        tar.append_dir_all("state/issuers", state.issuers())?;
        tar.append_dir_all("state/trust", state.trust_signers())?;
        tar.into_inner()?.sync_all()
    }
}

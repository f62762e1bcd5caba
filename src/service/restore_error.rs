//! Why nothing was restored.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use countersign_store::StoreError;

use super::{BootstrapError, RootActError};

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory.
    #[error(transparent)]
    Place(#[from] BootstrapError),
    /// Keys and certificates.
    #[error(transparent)]
    Root(#[from] RootActError),
    /// The book.
    #[error(transparent)]
    Book(#[from] StoreError),
    /// The file is no backup of a CA.
    #[error("{file} is no backup of a CA: {why}")]
    Backup {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the archive in the backup is not what was written.
    #[error("{name} in {backup} is damaged: {why}")]
    Events {
        /// The backup.
        backup: PathBuf,
        /// The file's name in it.
        name: String,
        /// What is damaged.
        why: String,
    },
    /// The root's key stays closed.
    #[error(
        "the root's key in {file} does not open: the passphrase is not the one of `countersign init`, or the backup is damaged"
    )]
    Passphrase {
        /// The backup.
        file: PathBuf,
    },
    /// The snapshot is not believed.
    #[error("the trust snapshot is refused: {0}")]
    Trust(String),
    /// The snapshot is older than the backup.
    #[error(
        "the trust snapshot (epoch {epoch}, sequence {sequence}) is older than the backup (epoch {backup_epoch}, sequence {backup_sequence}): take a newer one, or none"
    )]
    TrustIsOlder {
        /// The snapshot's.
        epoch: u64,
        /// The snapshot's.
        sequence: u64,
        /// The backup's.
        backup_epoch: u64,
        /// The backup's.
        backup_sequence: u64,
    },
    /// The configuration keeps the book in memory.
    #[error("store.engine = \"memory\" in the backup's configuration: there is nothing to restore into")]
    Memory,
    /// The file system.
    #[error("{path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl RestoreError {
    pub(super) fn backup(file: &Path, why: &dyn Display) -> Self {
        Self::Backup { file: file.into(), why: why.to_string() }
    }

    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// What a look at the archive found that was unpacked in `aside`.
    pub(super) fn archive(backup: &Path, aside: &Path, error: StoreError) -> Self {
        match error {
            StoreError::ArchiveDamaged { file, why, .. } => {
                let name = file.replace(&format!("{}/", aside.display()), "");
                Self::Events { backup: backup.into(), name, why }
            }
            other => Self::inside(backup, aside, &other),
        }
    }

    /// Something of a backup that was unpacked in `aside`, which will be gone: so it is named as the backup names it.
    pub(super) fn inside(file: &Path, aside: &Path, why: &dyn Display) -> Self {
        Self::backup(file, &why.to_string().replace(&format!("{}/", aside.display()), ""))
    }
}

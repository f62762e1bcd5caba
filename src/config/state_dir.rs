//! Where everything lies under the state directory: one place that knows the names.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::directory;

/// The state directory of one CA.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The state under `root`.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory itself, 0700.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The generated secret the online keys are encrypted under, 0600.
    #[must_use]
    pub fn unlock(&self) -> PathBuf {
        self.root.join("unlock")
    }

    /// The book.
    #[must_use]
    pub fn book(&self) -> PathBuf {
        self.root.join("book")
    }

    /// Events that have left the book, made when the first do.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// The unix socket of the admin routes, 0600.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.root.join("admin.sock")
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.root.join("root.pem")
    }

    /// The root key, encrypted under the operator's passphrase.
    #[must_use]
    pub fn root_key(&self) -> PathBuf {
        self.root.join("keys").join("root.key.pem")
    }

    /// Encrypted private keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Issuers, one directory a generation: `1`, `2`, …, each with its certificate and key.
    #[must_use]
    pub fn issuers(&self) -> PathBuf {
        self.root.join("issuers")
    }

    /// Trust signers, likewise.
    #[must_use]
    pub fn trust_signers(&self) -> PathBuf {
        self.root.join("trust")
    }

    /// Keys of access tokens after the first, one directory a generation.
    #[must_use]
    pub fn token_keys(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// The roots documents, a JSON array, oldest first.
    #[must_use]
    pub fn roots_documents(&self) -> PathBuf {
        self.root.join("roots.json")
    }

    /// The key of `name` (`token`, `jwt-svid`).
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.keys().join(format!("{name}.key.pem"))
    }

    /// Removes what an interrupted backup or rotation left behind. Young ones may belong to a process that still runs.
    pub fn clear_leftovers(&self) {
        const YOUNG: Duration = Duration::from_secs(3600);
        for parent in [self.root.clone(), self.issuers(), self.trust_signers(), self.token_keys()] {
            for path in directory::entries(&parent).unwrap_or_default() {
                let age =
                    fs::symlink_metadata(&path).and_then(|found| found.modified()).map(|at| at.elapsed());
                let old = matches!(age, Ok(Ok(age)) if age > YOUNG);
                if old && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                    // What cannot be removed does no harm.
                    let _ = directory::remove(&path);
                }
            }
        }
    }
}

//! The file of client identities a loader presents: names, keys and newest certificates.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// One client: what it is called, its key and its newest chain. No `Debug`: it holds a key (invariant 8).
#[derive(Clone, Deserialize, Serialize)]
pub struct Identity {
    /// The SPIFFE ID.
    pub spiffe_id: String,
    /// PKCS#8, PEM.
    pub key: String,
    /// Leaf first, then the issuer; PEM.
    pub chain: String,
}

/// All clients of one server, with the root they believe.
#[derive(Clone, Deserialize, Serialize)]
pub struct IdentityFile {
    /// The root certificate, PEM.
    pub root: String,
    /// The clients.
    pub identities: Vec<Identity>,
}

impl IdentityFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is not there or not of this shape.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not an identity file", path.display()))
    }

    /// Replaces a file, whole or not at all: a loader that is killed must not leave keys without certificates.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let next = path.with_extension("next");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&next, path).with_context(|| format!("cannot write {}", path.display()))
    }
}

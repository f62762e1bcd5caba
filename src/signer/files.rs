//! Files that must be whole and durable, or not there: written, synced, and their directory synced too.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown},
    path::Path,
};

/// Writes a new file of mode 0600; an existing one is refused.
///
/// # Errors
/// What the system says.
pub fn create_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    create(path, content, 0o600)
}

/// Copies a stream into a new file of mode 0600; an existing one is refused.
///
/// # Errors
/// What the system says.
pub fn copy_secret(path: &Path, from: &mut impl io::Read) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::copy(from, &mut file)?;
    file.sync_all()?;
    sync_parent(path)
}

/// Writes a new file of mode 0644; an existing one is refused.
///
/// # Errors
/// What the system says.
pub fn create_public(path: &Path, content: &[u8]) -> io::Result<()> {
    create(path, content, 0o644)
}

fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    sync_parent(path)
}

/// A directory of mode 0700, with those above it that are missing.
///
/// # Errors
/// What the system says.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_parent(path)
}

/// Gives `paths` to whom `model` belongs to; nothing to do where they are the same.
///
/// # Errors
/// What the system says: only root may give files away.
pub fn own_like<'a>(model: &Path, paths: impl IntoIterator<Item = &'a Path>) -> io::Result<()> {
    let model = fs::metadata(model)?;
    for path in paths {
        let found = fs::metadata(path)?;
        if (found.uid(), found.gid()) != (model.uid(), model.gid()) {
            chown(path, Some(model.uid()), Some(model.gid()))?;
        }
    }
    Ok(())
}

/// Makes a new directory visible at `to` in one step, or not at all.
///
/// # Errors
/// What the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

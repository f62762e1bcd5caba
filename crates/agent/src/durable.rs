//! Writes that survive a power cut: file synced, then its directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::error::AgentError;

/// Readable by everyone the directory lets in: certificates are public.
pub(crate) const PUBLIC: u32 = 0o644;
/// Keys.
pub(crate) const SECRET: u32 = 0o600;
/// The directory of an identity; an operator may widen it, the keys stay 0600.
pub(crate) const PRIVATE_DIR: u32 = 0o700;

/// Makes a directory and its parents, durably; one that exists keeps its mode.
pub(crate) fn make_dir(path: &Path) -> Result<(), AgentError> {
    let missing: Vec<_> = path.ancestors().take_while(|dir| !named(dir).exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(path)
        .map_err(|error| AgentError::file("create the directory", path, &error))?;
    // A key in a directory whose own name is lost in a power cut is lost with it.
    missing.into_iter().filter_map(Path::parent).try_for_each(|parent| sync_dir(named(parent)))
}

/// The directory a relative path begins in has the empty name.
fn named(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// Syncs a directory, so that the names in it survive.
pub(crate) fn sync_dir(path: &Path) -> Result<(), AgentError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| AgentError::file("sync the directory", path, &error))
}

/// Writes a new file and syncs it; the caller syncs the directory once all files stand.
pub(crate) fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), AgentError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| AgentError::file("write", path, &error))
}

/// Puts a whole file in place: readers see the old content or the new, and so does the next boot.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), AgentError> {
    let (parent, fresh) = beside(path);
    remove_file(&fresh)?;
    create(&fresh, content, mode)?;
    rename(&fresh, path)?;
    sync_dir(parent)
}

/// Points a symlink at `target` in one step, and makes that durable.
pub(crate) fn point(link: &Path, target: &Path) -> Result<(), AgentError> {
    let (parent, fresh) = beside(link);
    remove_file(&fresh)?;
    symlink(target, &fresh).map_err(|error| AgentError::file("create the link", &fresh, &error))?;
    rename(&fresh, link)?;
    sync_dir(parent)
}

/// Renames, naming both ends on failure. The caller syncs the directory.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), AgentError> {
    fs::rename(from, to).map_err(|error| AgentError::file("put in place", to, &error))
}

/// Removes a file or link if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<(), AgentError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(AgentError::file("remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Reads a file that may be absent.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, AgentError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AgentError::file("read", path, &error)),
    }
}

/// The directory of `path`, and the name under which its next content is prepared.
fn beside(path: &Path) -> (&Path, PathBuf) {
    let parent = named(path.parent().unwrap_or(Path::new("")));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (parent, parent.join(format!(".{name}.new")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_replaced_file_has_the_mode_asked_for_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("svid.key");
        // A crash may have left a half-written file under the name used for preparing.
        fs::write(dir.path().join(".svid.key.new"), "half").unwrap();
        replace(&path, b"one", SECRET).unwrap();
        replace(&path, b"two", SECRET).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_moves_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        point(&link, Path::new("generations/1-a")).unwrap();
        point(&link, Path::new("generations/2-b")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("generations/2-b"));
    }

    #[test]
    fn a_directory_is_made_with_its_parents_wherever_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        make_dir(&dir.path().join("a/b")).unwrap();
        assert!(dir.path().join("a/b").is_dir());
        make_dir(&dir.path().join("a/b")).unwrap();
        make_dir(Path::new(".")).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = make_dir(&dir.path().join("file/below")).unwrap_err();
        assert!(error.to_string().contains("file/below"));
        assert!(error.hint().unwrap().contains("another --dir"));
    }
}

//! Listing a directory, and removing one with all that is in it.
//!
//! Not the standard library's way: that one panics when the disk fails at the close of a directory that was listed.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Dir, Mode, OFlags, open},
    io::Errno,
};

/// The paths of what is in a directory, sorted; none if there is no such directory.
///
/// # Errors
/// What the system says.
pub fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let read = || -> Result<Vec<PathBuf>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut found = Vec::new();
        for entry in Dir::new(open(dir, flags, Mode::empty())?)? {
            match entry?.file_name().to_bytes() {
                b"." | b".." => {}
                name => found.push(dir.join(OsStr::from_bytes(name))),
            }
        }
        found.sort();
        Ok(found)
    };
    match read() {
        Err(Errno::NOENT) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

/// Removes a directory with all that is in it, or a file; links are removed and not followed.
///
/// # Errors
/// What the system says; then the rest is left.
pub fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    for entry in entries(path)? {
        remove(&entry)?;
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_directory_is_listed_in_order_and_a_missing_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", ".a", "c"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(entries(dir.path()).unwrap(), [".a", "b", "c"].map(|name| dir.path().join(name)));
        assert!(entries(&dir.path().join("missing")).unwrap().is_empty());
        assert!(entries(&dir.path().join("b")).is_err(), "a file is no directory");
    }

    #[test]
    fn a_directory_goes_with_all_that_is_in_it_and_what_its_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (gone, stays) = (dir.path().join("gone"), dir.path().join("stays"));
        fs::create_dir_all(gone.join("deep/er")).unwrap();
        fs::create_dir(&stays).unwrap();
        fs::write(stays.join("file"), "").unwrap();
        fs::write(gone.join("deep/file"), "").unwrap();
        std::os::unix::fs::symlink(&stays, gone.join("deep/link")).unwrap();
        remove(&gone).unwrap();
        assert!(!gone.exists() && stays.join("file").exists());
        remove(&stays.join("file")).unwrap();
        assert!(remove(&stays.join("file")).is_err(), "it is gone already");
    }
}

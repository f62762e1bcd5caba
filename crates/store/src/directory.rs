//! Directories: what is in one, and how its names survive a loss of power.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};

/// The names in a directory, in no order. Not the standard library's way: that one panics where the disk fails at the close.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut found = Vec::new();
    for entry in Dir::new(openat(CWD, dir, flags, Mode::empty())?)? {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            name => found.push(OsStr::from_bytes(name).to_owned()),
        }
    }
    Ok(found)
}

/// Makes the names in a directory durable: those of files survive no power cut by the files' own sync.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The directory that holds a path's name. The parent of a bare name is the empty path, which cannot be opened.
pub(crate) fn holding(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_directory_is_named_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", ".a"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut found = names(dir.path()).unwrap();
        found.sort();
        assert_eq!(found, [".a", "b"]);
        assert_eq!(names(&dir.path().join("c")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_bare_name_is_held_by_the_directory_one_is_in() {
        for (path, held_by) in [("book", "."), ("state/book", "state"), ("/book", "/")] {
            assert_eq!(holding(Path::new(path)), Path::new(held_by));
        }
    }
}

//! The advisory lock on a file, which the kernel releases when its holder ends, however it ends.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::durable;
use crate::error::AgentError;

/// Takes the lock at `path`, or says what `taken` says. The file stays empty, and a link in its place is not followed:
/// whoever put it there chose what it leads to.
pub(crate) fn take(path: &Path, taken: impl FnOnce() -> AgentError) -> Result<File, AgentError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(durable::SECRET)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|error| unopened(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken()),
        Err(TryLockError::Error(error)) => Err(AgentError::file("lock", path, &error)),
    }
}

fn unopened(path: &Path, error: &io::Error) -> AgentError {
    if Errno::from_io_error(error) == Some(Errno::LOOP) {
        return AgentError::failed(format!("{} is a link, expected a file", path.display()))
            .with_hint("countersign-agent never makes it one: find out who did, then remove it");
    }
    AgentError::file("open the lock", path, error)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn busy() -> AgentError {
        AgentError::failed("busy")
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_neither_followed_nor_is_its_target_touched() {
        let scratch = tempfile::tempdir().unwrap();
        let (precious, link) = (scratch.path().join("precious"), scratch.path().join(".lock"));
        fs::write(&precious, "keep me").unwrap();
        symlink(&precious, &link).unwrap();
        let error = take(&link, busy).unwrap_err();
        assert!(error.to_string().contains(".lock is a link, expected a file"), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(fs::read_to_string(precious).unwrap(), "keep me");
    }

    #[test]
    fn a_link_to_nothing_creates_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let (elsewhere, link) = (scratch.path().join("elsewhere"), scratch.path().join(".run.lock"));
        symlink(&elsewhere, &link).unwrap();
        take(&link, busy).unwrap_err();
        assert!(!elsewhere.exists());
    }

    #[test]
    fn what_stands_in_the_file_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(".lock");
        fs::write(&path, "4711\n").unwrap();
        let held = take(&path, busy).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4711\n");
        assert_eq!(take(&path, busy).unwrap_err().to_string(), "busy");
        drop(held);
        take(&path, busy).unwrap();
    }
}

//! The checks of the state directory: who may use it, whose its files are, and whether what must be there is there.

use std::{
    fs::{self, File, Metadata},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use countersign_identity::Timestamp;
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use super::{Findings, authority::rotate};
use crate::{
    config::{Config, Engine, StateDir, directory},
    service::{KeySet, KeySetError},
};

/// Below this the book may soon be unable to grow.
const DISK_LOW: u64 = 1 << 30;
/// Below this the next backup or compaction may fill the disk.
const DISK_EMPTY: u64 = 128 << 20;
/// What is lost comes from here.
const RESTORE: &str =
    "put the state directory's files back from a backup, state/unlock from where it is kept apart";

pub(super) fn check(config: &Config, now: Timestamp, findings: &mut Findings) {
    let state = &config.state;
    let all = everything_in(state.path());
    let book = state.book();
    let keys = all.iter().map(|(path, _)| path).filter(|path| !path.starts_with(&book) && holds_a_key(path));
    let secrets: Vec<_> =
        [state.path().to_owned(), state.unlock()].into_iter().chain(keys.cloned()).collect();
    findings.private(&secrets);
    writable(state.path(), findings);
    owners(state.path(), &all, findings);
    if config.engine != Engine::Memory {
        readable_book(state, &all, findings);
    }
    online_keys(config, now, findings);
    disk(state.path(), findings);
}

fn holds_a_key(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("key.pem"))
}

/// Every file and directory below; links are not followed.
fn everything_in(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for path in directory::entries(&dir).unwrap_or_default() {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                left.push(path.clone());
            }
            found.push((path, metadata));
        }
    }
    found
}

/// The mode counts as well as this user's access: root may write anywhere, the CA may not.
fn writable(state: &Path, findings: &mut Findings) {
    const OWNER_MAY_WRITE: u32 = 0o300;
    let Ok(found) = fs::metadata(state) else { return };
    let by_mode = found.permissions().mode() & OWNER_MAY_WRITE == OWNER_MAY_WRITE;
    if by_mode && access(state, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        findings.good(format!("{} can be written to", state.display()));
    } else {
        findings.failed(
            format!(
                "{} cannot be written to (mode {:o})",
                state.display(),
                found.permissions().mode() & 0o777
            ),
            format!(
                "chmod 700 {}, and run the check as the user the CA runs as, or as root",
                state.display()
            ),
        );
    }
}

/// What root made in the CA's directory, the CA cannot use.
fn owners(state: &Path, all: &[(PathBuf, Metadata)], findings: &mut Findings) {
    let Ok(owner) = fs::metadata(state) else { return };
    let foreign: Vec<_> =
        all.iter().filter(|(_, found)| found.uid() != owner.uid()).map(|(path, _)| path).collect();
    let shown = state.display();
    let Some(first) = foreign.first() else {
        return findings.good(format!("everything in {shown} belongs to its owner"));
    };
    let more = match foreign.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    findings.failed(
        format!("{}{more} and {shown} have different owners", first.display()),
        format!("chown -R {}:{} {shown}", owner.uid(), owner.gid()),
    );
}

fn readable_book(state: &StateDir, all: &[(PathBuf, Metadata)], findings: &mut Findings) {
    let book = state.book();
    let shown = book.display();
    if !book.is_dir() {
        return findings.failed(
            format!("the book {shown} is missing"),
            "put it back from a backup: without it the CA knows no machine and no revocation",
        );
    }
    let files: Vec<_> =
        all.iter().filter(|(path, found)| found.is_file() && path.starts_with(&book)).collect();
    if files.is_empty() {
        if rotated(state) {
            findings.failed(
                format!("the book {shown} is empty, though the issuer was rotated: unless this CA never served, it is lost"),
                "put it back from a backup: without it the CA knows no machine and no revocation",
            );
        } else {
            findings.good(format!("the book {shown} is empty, as before the first start"));
        }
        return;
    }
    let closed = files.iter().find_map(|(path, _)| File::open(path).err().map(|error| (path, error)));
    match closed {
        None => findings.good(format!("the book {shown} can be read")),
        Some((path, error)) => findings.failed(
            format!("cannot read {}: {error}", path.display()),
            "run the check as the user the CA runs as, or as root; if that is so, look for disk faults",
        ),
    }
}

/// A CA whose issuer was rotated has served before.
fn rotated(state: &StateDir) -> bool {
    directory::entries(&state.issuers()).is_ok_and(|found| found.len() > 1)
}

fn online_keys(config: &Config, now: Timestamp, findings: &mut Findings) {
    let unlock = match fs::read(config.state.unlock()) {
        Ok(unlock) => zeroize::Zeroizing::new(unlock),
        Err(error) => {
            findings.failed(format!("cannot read {}: {error}", config.state.unlock().display()), RESTORE);
            return;
        }
    };
    match KeySet::open(&config.state, &config.trust_domain, &unlock, now) {
        Ok(_) => findings.good("the online keys open and their certificates are there"),
        Err(error @ KeySetError::IssuerEnded(_)) => findings.failed(error.to_string(), rotate(config)),
        Err(error @ KeySetError::TrustDomain { .. }) => findings.failed(
            error.to_string(),
            format!(
                "set trust_domain in {} to what the root says, or state to the right directory",
                config.file.display()
            ),
        ),
        Err(error) => findings.failed(error.to_string(), RESTORE),
    }
}

fn disk(state: &Path, findings: &mut Findings) {
    let Ok(found) = statvfs(state) else { return };
    let shown = state.display();
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        findings.failed(
            format!("the file system of {shown} is read-only"),
            "look for disk faults, then mount it read-write",
        );
        return;
    }
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let text = format!("{} MiB are free for {shown}", free >> 20);
    match free {
        0..DISK_EMPTY => findings.failed(text, "make room now: on a full disk the CA turns read-only"),
        DISK_EMPTY..DISK_LOW => findings.warning(text, "make room: on a full disk the CA turns read-only"),
        _ => findings.good(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::State;

    fn place() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        (dir, state)
    }

    fn book(state: &StateDir) -> State {
        let mut findings = Findings::default();
        readable_book(state, &everything_in(state.path()), &mut findings);
        findings.0[0].state
    }

    #[test]
    fn a_book_that_is_missing_or_was_emptied_fails_and_a_new_one_does_not() {
        let (_dir, state) = place();
        fs::create_dir_all(state.issuers().join("1")).unwrap();
        assert_eq!(book(&state), State::Failed);
        fs::create_dir(state.book()).unwrap();
        assert_eq!(book(&state), State::Good);
        fs::create_dir(state.issuers().join("2")).unwrap();
        assert_eq!(book(&state), State::Failed);
        fs::write(state.book().join("db"), "rows").unwrap();
        assert_eq!(book(&state), State::Good);
    }

    #[test]
    fn a_directory_its_owner_may_not_write_to_fails_even_for_root() {
        let (dir, state) = place();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
        let mut findings = Findings::default();
        writable(state.path(), &mut findings);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        writable(state.path(), &mut findings);
        assert_eq!([findings.0[0].state, findings.0[1].state], [State::Failed, State::Good]);
    }

    #[test]
    fn a_file_of_another_owner_fails_with_the_chown_that_mends_it() {
        let (_dir, state) = place();
        fs::write(state.unlock(), "").unwrap();
        let mut findings = Findings::default();
        owners(state.path(), &everything_in(state.path()), &mut findings);
        assert_eq!(findings.0[0].state, State::Good);
        if std::os::unix::fs::chown(state.unlock(), Some(65_534), None).is_ok() {
            // Only root may give files away, so only root can see this.
            owners(state.path(), &everything_in(state.path()), &mut findings);
            assert_eq!(findings.0[1].state, State::Failed);
            assert!(findings.0[1].remedy.as_ref().unwrap().starts_with("chown -R "));
        }
    }
}

//! The program a process runs: where it lies, and its digest.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// The largest program whose digest is taken: hashing more would let a caller keep the machine busy.
const LARGEST: u64 = 512 << 20;
/// How many digests are remembered.
const REMEMBERED: usize = 256;

/// Where the program of the process `pid` lies; none if the kernel does not tell us, or it was removed meanwhile.
pub(super) fn path(pid: u32) -> Option<String> {
    let path = fs::read_link(proc(pid, "exe")).ok()?.into_os_string().into_string().ok()?;
    // The kernel's mark of a file that is not there any more: somebody else's may lie there now (proc(5)).
    (!path.ends_with(" (deleted)")).then_some(path)
}

/// The digest of the program of the process `pid`, of the very file it runs, wherever that lies now.
pub(super) fn digest(pid: u32) -> io::Result<[u8; 32]> {
    let mut file = File::open(proc(pid, "exe"))?;
    let version = Version::of(&file.metadata()?);
    if version.size > LARGEST {
        return Err(io::Error::other(format!("the program has {} octets", version.size)));
    }
    // Whoever wants the same digest waits for it; nobody waits for that of another program.
    let place = place(version);
    let mut known = place.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = *known {
        return Ok(digest);
    }
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let digest = hash.finalize().into();
    if Version::of(&file.metadata()?) == version {
        *known = Some(digest);
    }
    Ok(digest)
}

/// Where the digest of a file is remembered, once it is known.
fn place(version: Version) -> Place {
    let mut all = DIGESTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = all.get(&version) {
        return Arc::clone(place);
    }
    if all.len() >= REMEMBERED {
        all.pop_first();
    }
    Arc::clone(all.entry(version).or_default())
}

pub(super) fn proc(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// A file as it was at one moment: the change time moves with every write, and nobody but root can set it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Version {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// A digest that is taken by one at a time.
type Place = Arc<Mutex<Option<[u8; 32]>>>;

static DIGESTS: Mutex<BTreeMap<Version, Place>> = Mutex::new(BTreeMap::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_program_is_found_with_its_digest() {
        let own = std::env::current_exe().unwrap();
        let pid = std::process::id();
        assert_eq!(path(pid).unwrap(), own.to_string_lossy());
        let expected: [u8; 32] = Sha256::digest(fs::read(own).unwrap()).into();
        assert_eq!(digest(pid).unwrap(), expected);
        assert_eq!(digest(pid).unwrap(), expected, "and from memory");
    }

    #[test]
    fn a_program_that_takes_long_holds_up_no_other() {
        let slow = fs::metadata("/proc/self/status").unwrap();
        let slow = place(Version::of(&slow));
        let _being_hashed = slow.lock().unwrap();
        digest(std::process::id()).unwrap();
    }

    #[test]
    fn a_program_that_was_removed_has_no_path() {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("sleeper");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("30").spawn().unwrap();
        assert_eq!(path(child.id()).unwrap(), program.to_string_lossy());
        fs::remove_file(&program).unwrap();
        let found = path(child.id());
        let digest = digest(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, None);
        let expected: [u8; 32] = Sha256::digest(fs::read("/bin/sleep").unwrap()).into();
        assert_eq!(digest.unwrap(), expected, "the very file it runs");
    }
}

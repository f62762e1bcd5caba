//! The last good snapshot on disk, so that a service that starts while its CA is away goes on.
//!
//! ```text
//! DIR/snapshot.jws      replaced by rename, after every part it names is there
//! DIR/parts/SHA256      each written once
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use countersign_identity::hex;

use crate::snapshot::{PartRef, Parts, Snapshot};

const SNAPSHOT: &str = "snapshot.jws";
const PARTS: &str = "parts";

/// A directory of our own.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
}

impl Disk {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(dir.join(PARTS))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The snapshot kept, if there is one.
    pub(super) fn snapshot(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.dir.join(SNAPSHOT)) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Those of these parts that are there.
    pub(super) fn parts(&self, wanted: &[PartRef]) -> io::Result<Parts> {
        let mut parts = Parts::new();
        for part in wanted {
            match read_at_most(&self.part(part.sha256()), part.size()) {
                Ok(octets) => drop(parts.insert(*part.sha256(), octets)),
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(parts)
    }

    /// Those of these parts that are not there in their whole length, as after a write that failed.
    pub(super) fn lacking<'a>(&self, parts: impl IntoIterator<Item = &'a PartRef>) -> Vec<PartRef> {
        let is_there = |part: &PartRef| {
            fs::metadata(self.part(part.sha256()))
                .is_ok_and(|found| found.is_file() && found.len() == part.size())
        };
        parts.into_iter().filter(|part| !is_there(part)).copied().collect()
    }

    /// Keeps a snapshot, with those of its parts that are not there yet, and forgets the parts nothing names any more. Without all of
    /// its parts it would be good for nothing, and what was kept before stays.
    pub(super) fn keep(&self, snapshot: &Snapshot, new: &Parts) -> io::Result<()> {
        for part in self.lacking(snapshot.parts()) {
            let name = hex::encode(part.sha256());
            let lost = || io::Error::new(io::ErrorKind::NotFound, format!("part {name} is not there"));
            let octets = new.get(part.sha256()).ok_or_else(lost)?;
            // Nobody looked at it if the snapshot before had it.
            part.check(octets).map_err(io::Error::other)?;
            put(&self.part(part.sha256()), octets)?;
        }
        sync(&self.dir.join(PARTS))?;
        put(&self.dir.join(SNAPSHOT), snapshot.jws())?;
        sync(&self.dir)?;
        let named: Vec<_> = snapshot.parts().map(|part| hex::encode(part.sha256())).collect();
        for entry in fs::read_dir(self.dir.join(PARTS))?.flatten() {
            if !named.iter().any(|name| entry.file_name() == name.as_str()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn part(&self, sha256: &[u8; 32]) -> PathBuf {
        self.dir.join(PARTS).join(hex::encode(sha256))
    }
}

fn read_at_most(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    // One octet more shows that it is too long.
    File::open(path)?.take(size.saturating_add(1)).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Puts a whole file in place: whoever reads it sees the old content or the new, and so does the next start.
pub(super) fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// Makes the names in a directory survive a power cut.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

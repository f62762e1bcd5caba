//! fjall's journal, looked over before fjall reads it: what a crash has torn is cut off, what is damaged is refused.
//!
//! A group in the journal is a start, its items, and an end with their checksum. A group that the power cut caught may
//! lack any of its sectors. fjall 3.1 copes where the group breaks off; where a sector is missing inside a value it
//! refuses the whole book; and whatever follows a broken group it drops without a word. So:
//!
//! * The last group of the newest journal is torn: nobody was told of it, because its sync had not returned. It is cut.
//! * Whole groups follow a broken one, or an older journal is broken: these had been synced. The book is refused.
//! * The making of the book was cut short: no command had been answered. What is there of it is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3;

use crate::{StoreError, directory};

/// The version of fjall's files that is read here.
const VERSION: u8 = 3;

/// What ends each group.
const MAGIC: [u8; 4] = [b'F', b'J', b'L', VERSION];

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

/// Looks over all journals in a directory that nobody else has open.
pub(super) fn look_over(dir: &Path) -> Result<(), StoreError> {
    let looked = || -> io::Result<Result<(), String>> {
        let mut journals = journals(dir)?;
        match version(dir)? {
            None => return forget_unmade(dir, &journals),
            // Its groups may look torn to us: nothing is touched.
            Some(number) if number != VERSION => return Err(other_version(number)),
            Some(_) => {}
        }
        let newest = journals.pop();
        for older in &journals {
            if Tail::of(older)?.torn {
                return Ok(Err(format!("{} breaks off, and a newer journal follows it", named(older))));
            }
        }
        newest.map_or(Ok(Ok(())), |newest| mend(&newest))
    };
    let dir = dir.display().to_string();
    match looked() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(StoreError::Damaged { dir, why }),
        Err(error) => Err(StoreError::CannotOpen { dir, why: error.to_string() }),
    }
}

/// The journals, the oldest first.
fn journals(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in directory::names(dir)? {
        let path = dir.join(name);
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|e| e == "jnl")) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The version of fjall's files, if the book was made: `version` is written and synced last of all outside `keyspaces`,
/// and before any command.
fn version(dir: &Path) -> io::Result<Option<u8>> {
    match fs::read(dir.join("version")) {
        Ok(mark) if mark.starts_with(b"FJL") => Ok(mark.get(3).copied().filter(|number| *number != 0)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn other_version(number: u8) -> io::Error {
    io::Error::other(format!(
        "found files of version {number}, expected {VERSION}: start the release that wrote them"
    ))
}

/// Removes what a crash has left of the making of a book, if nothing was ever written to it.
fn forget_unmade(dir: &Path, journals: &[PathBuf]) -> io::Result<Result<(), String>> {
    for journal in journals {
        let tail = Tail::of(journal)?;
        if tail.whole > 0 || tail.torn {
            return Ok(Err(format!("version is missing or empty, and {} holds rows", named(journal))));
        }
    }
    if fs::exists(dir.join("keyspaces/1"))? {
        return Ok(Err("version is missing or empty, and keyspaces holds tables".into()));
    }
    for journal in journals {
        fs::remove_file(journal)?;
    }
    let _ = fs::remove_file(dir.join("version"));
    match fs::remove_dir_all(dir.join("keyspaces")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(Ok(())),
    }
}

/// Cuts a torn group off the newest journal.
fn mend(journal: &Path) -> io::Result<Result<(), String>> {
    let tail = Tail::of(journal)?;
    if !tail.torn {
        return Ok(Ok(()));
    }
    if let Some(at) = tail.later_group(journal)? {
        let whole = tail.whole;
        return Ok(Err(format!(
            "{} cannot be read from octet {whole} to {at}, and whole groups follow",
            named(journal)
        )));
    }
    tracing::warn!(
        journal = named(journal),
        from = tail.whole,
        "the newest commands were being written when the process or the power ended; nobody was told of them, and they are cut off"
    );
    let file = OpenOptions::new().write(true).open(journal)?;
    file.set_len(tail.whole)?;
    file.sync_all()?;
    Ok(Ok(()))
}

fn named(journal: &Path) -> String {
    journal.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// How a journal ends.
struct Tail {
    /// Where the last of the whole groups ends.
    whole: u64,
    /// Something other than zeros follows them.
    torn: bool,
}

impl Tail {
    fn of(journal: &Path) -> io::Result<Self> {
        let file = File::open(journal)?;
        let mut groups = Groups { input: BufReader::with_capacity(256 * 1024, &file), at: 0 };
        let mut whole = 0;
        while groups.next_is_whole()? {
            whole = groups.at;
        }
        Ok(Self { whole, torn: next_written(&file, whole)?.is_some() })
    }

    /// Where a whole group begins behind the torn one.
    fn later_group(&self, journal: &Path) -> io::Result<Option<u64>> {
        let mut file = File::open(journal)?;
        let mut from = self.whole + 1;
        while let Some((at, octets)) = next_written(&file, from)? {
            from = at + octets.len() as u64;
            for start in (at..).zip(&octets).filter(|(_, octet)| **octet == START).map(|(start, _)| start) {
                file.seek(SeekFrom::Start(start))?;
                let mut groups = Groups { input: BufReader::with_capacity(512, &file), at: start };
                if groups.next_is_whole()? {
                    return Ok(Some(start));
                }
            }
        }
        Ok(None)
    }
}

/// The next octets that are not all zero, and where they begin. What was reserved and never written is passed over.
fn next_written(file: &File, mut at: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    loop {
        at = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(None),
            // Not every file system knows its holes.
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error.into()),
        };
        let mut octets = vec![0; ZEROS.len()];
        let count = file.read_at(&mut octets, at)?;
        octets.truncate(count);
        if count == 0 {
            return Ok(None);
        }
        if Some(octets.as_slice()) != ZEROS.get(..count) {
            return Ok(Some((at, octets)));
        }
        at += count as u64;
    }
}

/// Reads groups one by one.
struct Groups<R> {
    input: R,
    at: u64,
}

/// Why a group is not whole: the journal ends in it, or it says what no group says. Else the disk refused.
enum Broken {
    Torn,
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::UnexpectedEof { Self::Torn } else { Self::Io(error) }
    }
}

impl<R: Read> Groups<R> {
    fn next_is_whole(&mut self) -> io::Result<bool> {
        match self.group() {
            Ok(()) => Ok(true),
            Err(Broken::Torn) => Ok(false),
            Err(Broken::Io(error)) => Err(error),
        }
    }

    fn group(&mut self) -> Result<(), Broken> {
        // A count and a sequence number follow.
        let [START, count @ .., _, _, _, _, _, _, _, _] = self.octets::<13>()? else {
            return Err(Broken::Torn);
        };
        let mut items = Xxh3::new();
        for _ in 0..u32::from_le_bytes(count) {
            self.item(&mut items)?;
        }
        let [END, sum @ .., m, a, g, ic] = self.octets::<13>()? else { return Err(Broken::Torn) };
        let right = u64::from_le_bytes(sum) == items.digest() && [m, a, g, ic] == MAGIC;
        if right { Ok(()) } else { Err(Broken::Torn) }
    }

    fn item(&mut self, sum: &mut Xxh3) -> Result<(), Broken> {
        let [tag] = self.octets()?;
        sum.update(&[tag]);
        match tag {
            CLEAR => sum.update(&self.octets::<8>()?),
            ITEM => {
                // Kind, compression and keyspace, then how long key, value and stored value are.
                let head: [u8; 20] = self.octets()?;
                sum.update(&head);
                let [.., k0, k1, v0, v1, v2, v3, s0, s1, s2, s3] = head;
                let stored = u32::from_le_bytes([s0, s1, s2, s3]);
                // Nothing here is compressed.
                if u32::from_le_bytes([v0, v1, v2, v3]) != stored {
                    return Err(Broken::Torn);
                }
                self.sum_up(u64::from(u16::from_le_bytes([k0, k1])) + u64::from(stored), sum)?;
            }
            _ => return Err(Broken::Torn),
        }
        Ok(())
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let mut octets = [0; N];
        self.input.read_exact(&mut octets)?;
        self.at += N as u64;
        Ok(octets)
    }

    fn sum_up(&mut self, mut left: u64, sum: &mut Xxh3) -> Result<(), Broken> {
        let mut some = [0; 4096];
        while left > 0 {
            let part = some.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let octets = some.get_mut(..part).unwrap_or_default();
            self.input.read_exact(octets)?;
            sum.update(octets);
            self.at += octets.len() as u64;
            left -= octets.len() as u64;
        }
        Ok(())
    }
}

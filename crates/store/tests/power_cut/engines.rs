//! The engines whose power is cut: the book's own, and small ones with a planted fault each.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;

use countersign_store::StoreError;
use countersign_store::engine::{Change, Engine, FjallEngine, Key, MemoryEngine, SledEngine, Value};
use sha2::{Digest, Sha256};

/// Rows gathered before a table is written: small, so that short runs write and merge many.
const MEMTABLE: u64 = 96 * 1024;

/// Batches after which the small engine writes its rows anew and begins its log again.
const LOG: usize = 4;

/// An engine under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Fjall,
    /// As the CA runs it: the memtable has its usual size.
    FjallAtLength,
    Sled,
    /// fjall, and `sync` returns at once.
    Forgetful,
    /// A log file that does everything right.
    Honest,
    /// That log file with one fault.
    Faulty(Fault),
}

/// What the small engine leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `fdatasync` of the log.
    DataSync,
    /// `fsync` of the directory after the log was made.
    NameSync,
    /// The checksum of a batch.
    Checksum,
    /// `fsync` of the rows before the rename over the older ones.
    SyncBeforeRename,
    /// `fsync` of the directory between that rename and the new log.
    SyncAfterRename,
}

const NAMES: [(&str, Kind); 10] = [
    ("fjall", Kind::Fjall),
    ("fjall-at-length", Kind::FjallAtLength),
    ("sled", Kind::Sled),
    ("forgetful", Kind::Forgetful),
    ("honest", Kind::Honest),
    ("no-data-sync", Kind::Faulty(Fault::DataSync)),
    ("no-name-sync", Kind::Faulty(Fault::NameSync)),
    ("no-checksum", Kind::Faulty(Fault::Checksum)),
    ("no-sync-before-rename", Kind::Faulty(Fault::SyncBeforeRename)),
    ("no-sync-after-rename", Kind::Faulty(Fault::SyncAfterRename)),
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, kind)| *kind == self).unwrap().0
    }

    pub(crate) fn open(self, dir: &Path) -> Result<Box<dyn Engine>, StoreError> {
        Ok(match self {
            Self::Fjall => Box::new(FjallEngine::open_with(dir, MEMTABLE)?),
            Self::FjallAtLength => Box::new(FjallEngine::open(dir)?),
            Self::Sled => Box::new(SledEngine::open(dir)?),
            Self::Forgetful => Box::new(Forgetful(FjallEngine::open_with(dir, MEMTABLE)?)),
            Self::Honest => Box::new(Log::open(dir, None)?),
            Self::Faulty(fault) => Box::new(Log::open(dir, Some(fault))?),
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| format!("no engine is called {text}"))
    }
}

/// The plainest fault: an engine that says "durable" and never asks the disk.
#[derive(Debug)]
struct Forgetful(FjallEngine);

impl Engine for Forgetful {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.0.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError> {
        self.0.scan(from, to, limit)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.0.apply(changes)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// All rows in memory; on the disk a file of rows and a log of the batches since.
#[derive(Debug)]
struct Log {
    dir: PathBuf,
    fault: Option<Fault>,
    rows: MemoryEngine,
    all: Mutex<BTreeMap<Key, Value>>,
    file: File,
    state: Mutex<(u64, usize)>,
}

impl Log {
    fn open(dir: &Path, fault: Option<Fault>) -> Result<Self, StoreError> {
        let opened = Self::try_open(dir, fault)
            .map_err(|e| StoreError::CannotOpen { dir: dir.display().to_string(), why: e.to_string() })?;
        opened.replay()?;
        Ok(opened)
    }

    fn try_open(dir: &Path, fault: Option<Fault>) -> std::io::Result<Self> {
        fs::create_dir_all(dir)?;
        File::open(dir.parent().unwrap())?.sync_all()?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("log"))?;
        let log = Self {
            dir: dir.to_owned(),
            fault,
            rows: MemoryEngine::new(),
            all: Mutex::default(),
            file,
            state: Mutex::default(),
        };
        if fault != Some(Fault::NameSync) {
            File::open(dir)?.sync_all()?;
        }
        Ok(log)
    }

    /// The rows, then the batches of the log as far as they are whole.
    fn replay(&self) -> Result<(), StoreError> {
        let held = fs::read(self.dir.join("rows")).unwrap_or_default();
        let mut at = 0;
        // The rows know how many batches they hold, so that an old log is not run over them.
        let mut known = 0;
        if let Some((octets, _)) = framed(&held, true) {
            known = u64::from_le_bytes(octets[..8].try_into().unwrap());
            self.remember(&octets[8..])?;
        }
        let held = fs::read(self.dir.join("log")).unwrap_or_default();
        let checked = self.fault != Some(Fault::Checksum);
        while let Some((octets, end)) = framed(&held[at..], checked) {
            let number = u64::from_le_bytes(octets[..8].try_into().unwrap());
            if number != known + 1 {
                break;
            }
            known = number;
            self.remember(&octets[8..])?;
            at += end;
        }
        *self.state.lock().unwrap() = (at as u64, 0);
        self.number(known);
        Ok(())
    }

    fn number(&self, known: u64) {
        self.all.lock().unwrap().insert(b"\xff".to_vec(), known.to_le_bytes()[..].into());
    }

    fn known(&self) -> u64 {
        u64::from_le_bytes((*self.all.lock().unwrap()[&b"\xff"[..]]).try_into().unwrap())
    }

    fn remember(&self, octets: &[u8]) -> Result<(), StoreError> {
        let changes = changes(octets);
        for change in &changes {
            let mut all = self.all.lock().unwrap();
            match &change.new {
                Some(value) => all.insert(change.key.clone(), value.clone()),
                None => all.remove(&change.key),
            };
        }
        self.rows.apply(&changes)
    }

    /// Writes all rows to a file of their own and begins the log again.
    fn fold(&self) -> std::io::Result<()> {
        let all: Vec<Change> = self
            .all
            .lock()
            .unwrap()
            .iter()
            .filter(|(key, _)| key[0] != 0xff)
            .map(|(key, value)| Change { key: key.clone(), old: None, new: Some(value.clone()) })
            .collect();
        let mut file = File::create(self.dir.join("rows.new"))?;
        file.write_all(&frame(self.known(), &all))?;
        if self.fault != Some(Fault::SyncBeforeRename) {
            file.sync_all()?;
        }
        fs::rename(self.dir.join("rows.new"), self.dir.join("rows"))?;
        if self.fault != Some(Fault::SyncAfterRename) {
            File::open(&self.dir)?.sync_all()?;
        }
        self.file.set_len(0)?;
        self.file.sync_all()
    }
}

impl Engine for Log {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.rows.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError> {
        self.rows.scan(from, to, limit)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.1 == LOG {
            self.fold().map_err(io)?;
            *state = (0, 0);
        }
        let octets = frame(self.known() + 1, changes);
        self.file.write_all_at(&octets, state.0).map_err(io)?;
        *state = (state.0 + octets.len() as u64, state.1 + 1);
        self.number(self.known() + 1);
        self.remember(&octets[40..])
    }

    fn sync(&self) -> Result<(), StoreError> {
        match self.fault {
            Some(Fault::DataSync) => Ok(()),
            _ => self.file.sync_data().map_err(io),
        }
    }
}

fn io(error: std::io::Error) -> StoreError {
    StoreError::Io { doing: "write the log".into(), why: error.to_string() }
}

/// Length, checksum (its first 24 octets), number, changes.
fn frame(number: u64, changes: &[Change]) -> Vec<u8> {
    let mut octets = number.to_le_bytes().to_vec();
    for Change { key, new, .. } in changes {
        octets.extend((key.len() as u32).to_le_bytes());
        octets.extend(new.as_ref().map_or(u32::MAX, |value| value.len() as u32).to_le_bytes());
        octets.extend(key);
        octets.extend(new.iter().flat_map(|value| value.iter()));
    }
    let mut framed = (octets.len() as u64).to_le_bytes().to_vec();
    framed.extend(&Sha256::digest(&octets)[..24]);
    framed.extend(octets);
    framed
}

/// The octets of the first frame, if it is whole, and where it ends.
fn framed(held: &[u8], checked: bool) -> Option<(&[u8], usize)> {
    let length = u64::from_le_bytes(held.get(..8)?.try_into().unwrap());
    let end = 32 + usize::try_from(length).ok().filter(|length| *length >= 8)?;
    let octets = held.get(32..end)?;
    let right = !checked || Sha256::digest(octets)[..24] == held[8..32];
    right.then_some((octets, end))
}

fn changes(mut octets: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    while octets.len() >= 8 {
        let number = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap());
        let (key_len, value_len) = (number(0) as usize, number(4));
        let value_end = 8 + key_len + if value_len == u32::MAX { 0 } else { value_len as usize };
        let Some(row) = octets.get(8..value_end) else { break };
        let (key, value) = row.split_at(key_len);
        let new = (value_len != u32::MAX).then(|| value.into());
        changes.push(Change { key: key.to_vec(), old: None, new });
        octets = &octets[value_end..];
    }
    changes
}

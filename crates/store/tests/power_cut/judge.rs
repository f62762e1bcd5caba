//! The judge: what a book must hold after a cut, and whether it does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::Serial;
use countersign_store::engine::Engine;
use countersign_store::{Book, Store, StoreError};

use crate::agent::OPERATOR;
use crate::engines::Kind;
use crate::house::{noon, registration};
use crate::subject::{digest, told};

/// What the book had promised when the power went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promised {
    /// Digests of all rows that may stand: the newest that is durable, and what was begun after it.
    states: Vec<u128>,
    /// Those that must not stand any more.
    older: Vec<u128>,
    acknowledged: Vec<(String, String)>,
}

impl Promised {
    /// What the book had promised to earlier runs.
    pub(crate) fn by(state: u128, earlier: &Self) -> Self {
        Self { states: vec![state], older: vec![], acknowledged: earlier.acknowledged.clone() }
    }

    pub(crate) fn note(&mut self, receipt: &str) {
        let words: Vec<&str> = receipt.split(' ').collect();
        match words[..] {
            ["begun", state] => self.states.push(u128::from_str_radix(state, 16).unwrap()),
            ["durable"] => {
                self.older.extend(self.states.drain(..self.states.len() - 1));
            }
            ["ack", what, which] => self.acknowledged.push((what.into(), which.into())),
            _ => panic!("a receipt says {receipt:?}"),
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }
}

/// What became of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds what it promised, and goes on. Its rows have this digest.
    Kept(u128),
    /// It does not open, and says why.
    Refused(String),
    /// It opened, and something is lost, half done, or broken.
    Guilty(String),
}

/// Opens what a cut has left and compares it with what was promised.
pub(crate) fn judge(kind: Kind, dir: &Path, promised: &Promised) -> Verdict {
    match catch_unwind(AssertUnwindSafe(|| examine(kind, dir, promised))) {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => Verdict::Refused(error.to_string()),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|&why| why.to_owned()));
            Verdict::Guilty(format!("it panicked: {}", why.unwrap_or_default()))
        }
    }
}

/// Opens a book that may have been closed a moment ago: sled's threads hold it a little longer.
fn opened(kind: Kind, dir: &Path) -> Result<Arc<dyn Engine>, StoreError> {
    for _ in 0..200 {
        match kind.open(dir) {
            Err(StoreError::Locked { .. }) => std::thread::sleep(Duration::from_millis(5)),
            other => return other.map(Arc::from),
        }
    }
    Err(StoreError::Locked { dir: dir.display().to_string() })
}

fn examine(kind: Kind, dir: &Path, promised: &Promised) -> Result<Verdict, StoreError> {
    let engine = opened(kind, dir)?;
    let found = digest(&*engine)?;
    if !promised.states.contains(&found) {
        let lost = lost(&Book::on(engine, crate::options(dir))?, promised);
        let what = match promised.older.contains(&found) {
            true => "lost: a group that had been synced",
            false => "a group of commands is half done",
        };
        return Ok(Verdict::Guilty(lost.unwrap_or_else(|| what.into())));
    }
    let book = Book::on(engine, crate::options(dir))?;
    if let Some(lost) = lost(&book, promised) {
        return Ok(Verdict::Guilty(lost));
    }
    // It goes on from there, and what it promises now outlives the next start.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let after = registration("/after/the/cut");
    runtime.block_on(book.import_registrations(vec![after.clone()], false, OPERATOR, noon()))?;
    while runtime.block_on(book.hand_on_events())?.more {}
    let events = book.counts()?.events;
    drop(book);
    let book = Book::on(opened(kind, dir)?, crate::options(dir))?;
    if book.registration(&after.id)?.is_none() || book.counts()?.events != events {
        return Ok(Verdict::Guilty("it forgets what came after the cut".into()));
    }
    Ok(lost(&book, promised).map_or(Verdict::Kept(found), Verdict::Guilty))
}

/// The first thing that was acknowledged and is not there, or cannot be read.
fn lost(book: &Book, promised: &Promised) -> Option<String> {
    let acknowledged =
        promised.acknowledged.iter().find_map(|(what, which)| match stands(book, what, which) {
            Ok(true) => None,
            Ok(false) => Some(format!("lost: {what} {which}")),
            Err(error) => Some(format!("broken: {what} {which}: {error}")),
        });
    acknowledged.or_else(|| match every_event_is_told(book) {
        Ok(true) => None,
        Ok(false) => Some("events are lost, or told twice".into()),
        Err(error) => Some(format!("broken: events: {error}")),
    })
}

/// Each once and in order, from the archive or the book.
fn every_event_is_told(book: &Book) -> Result<bool, StoreError> {
    let (events, count) = (book.events(0, usize::MAX)?, book.counts()?.events);
    Ok(events.iter().map(|event| event.seq).eq(1..=count))
}

fn stands(book: &Book, what: &str, which: &str) -> Result<bool, StoreError> {
    Ok(match what {
        "invited" => {
            let mut hash = [0; 32];
            for (n, octet) in hash.iter_mut().enumerate() {
                *octet = u8::from_str_radix(&which[2 * n..2 * n + 2], 16).unwrap();
            }
            book.invitation(&hash)?.is_some()
        }
        "enrolled" | "renewed" => {
            let serial: Serial = which.parse().unwrap();
            book.issuance(serial)?.is_some() && book.standing(serial)?.is_some()
        }
        "revoked" => {
            let serial: Serial = which.parse().unwrap();
            book.revoked(noon(), None, usize::MAX)?.items.iter().any(|line| line.serial == serial)
        }
        "archived" => {
            let (last, digest) = which.split_once(':').unwrap();
            told(book, last.parse().unwrap())? == digest
        }
        "registered" => book.registration(&which.parse().unwrap())?.is_some(),
        "policy" => book.policy()?.is_some_and(|policy| policy.number >= which.parse().unwrap()),
        other => panic!("nobody promises {other}"),
    })
}

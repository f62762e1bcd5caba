//! The power cut (invariant 2): whatever an honest disk loses of what was not synced, all that was acknowledged is there.
//!
//! A program runs commands against a book under strace. Its trace is replayed on a model of a disk, cut after every
//! change with what is not durable lost, kept, torn, holed or out of order; each remainder is built as a directory and
//! the book opened on it. The model and the judge are tested against engines with a planted fault each.
//!
//! `COUNTERSIGN_POWER_CUT=all` runs the whole matrix, which takes some minutes; else every so many-th cut is tried.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on may panic, and says what it has counted"
)]
#![expect(
    dead_code,
    reason = "the authority and the agents are shared with the tests of the book, which use more"
)]

#[path = "../book/agent.rs"]
mod agent;
mod damage;
mod disk;
mod engines;
#[path = "../book/house.rs"]
mod house;
mod judge;
mod matrix;
mod subject;
mod trace;
mod ways;

use std::env;
use std::path::{Path, PathBuf};

use countersign_store::{Archive, Options};

use crate::engines::{Fault, Kind};
use crate::matrix::{Depth, Findings, Matrix};
use crate::subject::Task;

/// Options for a book in `state/book`, whose old events go beside it after a few; its randomness is a counter.
fn options(book: &Path) -> Options {
    let mut counter = 0_u8;
    let archive = Archive::at(book.with_file_name("events")).with_ranges_of(32, 16);
    Options::new(Box::new(move |octets| {
        counter = counter.wrapping_add(1);
        octets.fill(counter);
    }))
    .archived(archive)
}

/// On a developer's machine a missing tool skips the test, and says so; CI has it or fails.
fn strace() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join("strace")).find(|file| file.is_file());
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "strace is missing: scripts/check installs it");
        eprintln!("SKIPPED: strace is missing: scripts/check installs it");
    }
    found
}

fn whole() -> bool {
    env::var_os("COUNTERSIGN_POWER_CUT").is_some_and(|wanted| wanted == "all")
}

fn task(kind: Kind, machines: usize, renewals: usize, policies: usize) -> Task {
    Task { kind, machines, renewals, policies, run: 0 }
}

/// Runs the matrix, and once more on disks that cuts have left.
fn findings(task: &Task, depth: Depth, again: usize) -> Option<Findings> {
    let strace = strace()?;
    let found = Matrix { strace, depth, around: &[] }.run(task, again);
    eprintln!("{}: {found}", task.kind.name());
    Some(found)
}

/// The rule, and that the disks were not all whole: a matrix that cuts nothing proves nothing.
#[track_caller]
fn acquitted(found: &Findings) {
    assert!(found.guilty.is_empty() && found.refused.is_empty(), "{found}");
    assert!(found.images > 100 && found.lossy > found.images / 10, "{found}");
}

#[test]
fn fjall_keeps_what_was_acknowledged_whatever_the_power_cut_leaves() {
    let (depth, machines) = if whole() { (Depth::ALL, 8) } else { (Depth { cuts: 90, random: 1 }, 6) };
    let Some(found) = findings(&task(Kind::Fjall, machines, 3, 6), depth, if whole() { 2 } else { 1 }) else {
        return;
    };
    acquitted(&found);
}

#[test]
fn fjall_keeps_it_when_its_journal_is_changed_for_a_new_one() {
    let depth = if whole() { Depth { cuts: 160, random: 2 } } else { Depth { cuts: 6, random: 0 } };
    let Some(strace) = strace() else { return };
    let matrix = Matrix { strace, depth, around: &["1.jnl", "0.jnl"] };
    let found = matrix.run(&task(Kind::FjallAtLength, 1, 1, 1_600), 0);
    eprintln!("{found}");
    assert!(found.guilty.is_empty() && found.refused.is_empty(), "{found}");
    assert!(found.marks >= 3, "a journal was made, another after it, and the first one left: {found}");
}

#[test]
fn sled_keeps_what_was_acknowledged_or_refuses_to_open() {
    let depth = if whole() { Depth::ALL } else { Depth { cuts: 30, random: 1 } };
    let Some(found) = findings(&task(Kind::Sled, 6, 3, 6), depth, 1) else { return };
    assert!(found.guilty.is_empty(), "{found}");
    assert!(found.refused.iter().all(|why| why.contains("restore the newest backup")), "{found}");
}

#[test]
fn an_honest_log_is_acquitted() {
    let Some(found) = findings(&task(Kind::Honest, 4, 1, 2), Depth { cuts: 120, random: 1 }, 1) else {
        return;
    };
    acquitted(&found);
}

#[test]
fn an_engine_that_forgets_to_sync_is_found_guilty() {
    let Some(found) = findings(&task(Kind::Forgetful, 4, 1, 1), Depth { cuts: 40, random: 0 }, 0) else {
        return;
    };
    assert!(found.guilty.iter().any(|what| what.contains("lost:")), "{found}");
}

#[test]
fn every_fault_planted_in_a_log_is_found() {
    for (fault, what) in [
        (Fault::DataSync, "lost:"),
        (Fault::NameSync, "lost:"),
        (Fault::Checksum, "half done"),
        (Fault::SyncBeforeRename, "lost:"),
        (Fault::SyncAfterRename, "lost:"),
    ] {
        let task = task(Kind::Faulty(fault), 4, 1, 2);
        let Some(found) = findings(&task, Depth { cuts: 400, random: 1 }, 0) else { return };
        assert!(found.guilty.iter().any(|said| said.contains(what)), "{fault:?}: {found}");
    }
}

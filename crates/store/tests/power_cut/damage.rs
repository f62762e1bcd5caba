//! Damage that no power cut makes: the book is refused, and says what is wrong and what to do.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use countersign_store::engine::{Change, Engine, FjallEngine, Value};
use countersign_store::{Book, StoreError};

/// A book of five rows, each of several sectors, each in a group of its own. Gives where each group ends.
fn written(dir: &Path) -> Vec<u64> {
    let engine = FjallEngine::open(dir).unwrap();
    let mut ends = Vec::new();
    for n in 0..5_u8 {
        let new = Some(Value::from(vec![n + 1; 3000]));
        engine.apply(&[Change { key: vec![b'A' + n], old: None, new }]).unwrap();
        engine.sync().unwrap();
        // The rest is reserved and zero.
        let mut octets = vec![0; 32 * 1024];
        File::open(dir.join("0.jnl")).unwrap().read_exact_at(&mut octets, 0).unwrap();
        ends.push(octets.iter().rposition(|octet| *octet != 0).unwrap() as u64 + 1);
    }
    ends
}

fn holed(dir: &Path, at: u64) {
    let journal = File::options().write(true).open(dir.join("0.jnl")).unwrap();
    journal.write_all_at(&[0; 512], at).unwrap();
}

fn rows(dir: &Path) -> usize {
    FjallEngine::open(dir).unwrap().scan(&[], &[0xff], 99).unwrap().len()
}

/// What is wrong, which must come with a remedy.
#[track_caller]
fn refusal(dir: &Path) -> String {
    let refusal = FjallEngine::open(dir).unwrap_err();
    assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal}");
    assert!(refusal.to_string().contains("restore the newest backup"), "{refusal}");
    refusal.to_string()
}

#[test]
fn a_hole_in_the_newest_group_costs_that_group_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ends = written(dir.path());
    holed(dir.path(), ends[3] + 1000);
    assert_eq!(rows(dir.path()), 4);
    assert_eq!(rows(dir.path()), 4, "and no more at the next start");
}

#[test]
fn a_hole_in_front_of_whole_groups_is_damage() {
    for group in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let ends = written(dir.path());
        holed(dir.path(), ends[group] - 2000);
        let begins = group.checked_sub(1).map_or(0, |before| ends[before]);
        let said = refusal(dir.path());
        assert!(
            said.contains(&format!("0.jnl cannot be read from octet {begins} to {}", ends[group])),
            "{said}"
        );
        // Nothing was touched: whoever wants to look still can.
        assert_eq!(refusal(dir.path()), said);
    }
}

#[test]
fn an_older_journal_that_breaks_off_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let ends = written(dir.path());
    holed(dir.path(), ends[4] - 2000);
    File::create(dir.path().join("1.jnl")).unwrap();
    assert!(refusal(dir.path()).contains("0.jnl breaks off, and a newer journal follows it"));
}

#[test]
fn a_book_without_its_mark_is_not_made_anew_over_its_rows() {
    for emptied in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        fs::remove_file(dir.path().join("version")).unwrap();
        if emptied {
            File::create(dir.path().join("version")).unwrap();
        }
        assert!(refusal(dir.path()).contains("version is missing or empty, and 0.jnl holds rows"));
    }
}

#[test]
fn a_book_whose_making_was_cut_short_is_made_again() {
    for version in [&b""[..], b"FJL", b"FJL\0", b"\0\0\0\x03"] {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("0.jnl")).unwrap().set_len(64 << 20).unwrap();
        fs::write(dir.path().join("version"), version).unwrap();
        fs::create_dir(dir.path().join("keyspaces")).unwrap();
        drop(Book::open(dir.path(), crate::options(dir.path())).unwrap());
        Book::open(dir.path(), crate::options(dir.path())).unwrap();
    }
}

#[test]
fn a_book_that_another_version_of_the_engine_wrote_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let ends = written(dir.path());
    // Its last group looks torn; what a newer version writes would, too.
    holed(dir.path(), ends[4] - 2000);
    let journal = || fs::read(dir.path().join("0.jnl")).unwrap();
    let before = journal();
    fs::write(dir.path().join("version"), b"FJL\x04").unwrap();
    let refusal = FjallEngine::open(dir.path()).unwrap_err();
    assert!(refusal.to_string().contains("found files of version 4, expected 3"), "{refusal}");
    assert!(journal() == before);
}

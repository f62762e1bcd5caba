//! The book in a directory: it outlives its process, belongs to one, and says what is wrong with the place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use countersign_store::engine::{Change, Engine, FjallEngine, SledEngine, Value};
use countersign_store::{Book, Store, StoreError};

use crate::agent::{Desk, OPERATOR};
use crate::house::{noon, registration};

fn open(dir: &Path) -> Result<Book, StoreError> {
    Book::open(dir, crate::options())
}

/// Copies the files as they are, as a process that is killed leaves them.
pub(crate) fn killed_copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            killed_copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_reopened_book_is_the_same_book() {
    let dir = tempfile::tempdir().unwrap();
    let book = open(dir.path()).unwrap();
    let desk = Desk { book: &book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    desk.renew(&mut agent).await.unwrap();
    desk.revoke(countersign_store::Target::Serial(agent.serial)).await;
    let before = (book.standing(agent.serial).unwrap(), book.events(0, 99).unwrap(), book.counts().unwrap());
    drop(book);
    let book = open(dir.path()).unwrap();
    let after = (book.standing(agent.serial).unwrap(), book.events(0, 99).unwrap(), book.counts().unwrap());
    assert_eq!(before, after);
    assert_eq!(*book.trust_sequence().borrow(), 1, "the sequence goes on where it was");
}

/// Invariant 2.
#[tokio::test]
async fn what_was_answered_is_in_the_files_at_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let book = open(&live).unwrap();
    for n in 0..8 {
        let desk = Desk { book: &book, now: noon() };
        let agent = desk.enroll(&registration(&format!("/n{n}"))).await;
        let copy = dir.path().join(format!("copy{n}"));
        killed_copy(&live, &copy);
        let after_kill = open(&copy).unwrap();
        assert_eq!(after_kill.standing(agent.serial).unwrap(), book.standing(agent.serial).unwrap());
        assert_eq!(after_kill.counts().unwrap(), book.counts().unwrap());
    }
}

#[tokio::test]
async fn a_book_belongs_to_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _book = open(dir.path()).unwrap();
    let refusal = open(dir.path()).unwrap_err();
    assert_eq!(refusal, StoreError::Locked { dir: dir.path().display().to_string() });
    assert!(refusal.to_string().contains("stop that one"), "{refusal}");
}

#[test]
fn a_book_of_another_engine_is_not_taken_for_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    drop((FjallEngine::open(&one).unwrap(), SledEngine::open(&other).unwrap()));
    let refusals = [SledEngine::open(&one).err(), FjallEngine::open(&other).err()];
    for (refusal, engine) in refusals.iter().flatten().zip(["fjall", "sled"]) {
        assert!(refusal.to_string().contains(&format!("a book of the engine {engine}")), "{refusal}");
    }
    assert!(refusals.iter().all(Option::is_some));
}

#[test]
fn a_place_that_cannot_hold_a_book_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let refusal = open(&file).unwrap_err();
    assert!(
        matches!(&refusal, StoreError::CannotOpen { dir, .. } if *dir == file.display().to_string()),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_book_of_a_newer_version_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let engine = FjallEngine::open(dir.path()).unwrap();
    let newer = Some(Value::from(&[2_u8][..]));
    engine.apply(&[Change { key: b"Xformat".to_vec(), old: None, new: newer }]).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let refusal = open(dir.path()).unwrap_err();
    assert!(refusal.to_string().contains("found layout 2, expected 1"), "{refusal}");
}

/// The counts of a book from before invitations were listed by identity.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct OlderCounts {
    #[n(0)]
    registrations: u64,
    #[n(1)]
    invitations: u64,
    #[n(2)]
    active: u64,
    #[n(3)]
    held: u64,
    #[n(4)]
    suspended: u64,
    #[n(5)]
    ended: u64,
    #[n(6)]
    issuances: u64,
    #[n(7)]
    events: u64,
}

#[tokio::test]
async fn invitations_from_before_they_were_listed_go_with_their_registration_too() {
    let dir = tempfile::tempdir().unwrap();
    let book = open(dir.path()).unwrap();
    let desk = Desk { book: &book, now: noon() };
    let hash = desk.invite(&registration("/old"), 1).await;
    let events = book.counts().unwrap().events;
    drop(book);
    let engine = FjallEngine::open(dir.path()).unwrap();
    let entry = [b"i", registration("/old").id.as_str().as_bytes(), &[0], &hash[..]].concat();
    let older = OlderCounts {
        registrations: 1,
        invitations: 1,
        active: 0,
        held: 0,
        suspended: 0,
        ended: 0,
        issuances: 0,
        events,
    };
    let older = minicbor::to_vec(older).unwrap();
    let change = |key: Vec<u8>, new: Option<&[u8]>| Change { key, old: None, new: new.map(Value::from) };
    assert!(engine.get(&entry).unwrap().is_some());
    engine.apply(&[change(entry, None), change(b"Xcounts".to_vec(), Some(&older))]).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let book = open(dir.path()).unwrap();
    let newer = Desk { book: &book, now: noon() }.invite(&registration("/new"), 1).await;
    book.remove_registration(registration("/old").id, OPERATOR, noon()).await.unwrap();
    assert_eq!(book.invitation(&hash).unwrap(), None);
    assert!(book.invitation(&newer).unwrap().is_some());
    // Now all that are left are listed.
    book.remove_registration(registration("/new").id, OPERATOR, noon()).await.unwrap();
    assert_eq!((book.invitation(&newer).unwrap(), book.counts().unwrap().invitations), (None, 0));
}

/// Invariant 8.
#[tokio::test]
async fn the_files_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("state/book");
    let book = open(&at).unwrap();
    let file = dir.path().join("backup");
    book.backup(&file).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&at), mode(&file)), (0o700, 0o600));
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_says_so_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let book = open(&dir.path().join("book")).unwrap();
    let refusal = book.backup(&dir.path().join("nowhere/backup")).unwrap_err();
    assert!(refusal.to_string().contains("nowhere/backup"), "{refusal}");
    let over_a_directory = dir.path().join("taken");
    fs::create_dir(&over_a_directory).unwrap();
    book.backup(&over_a_directory).unwrap_err();
    assert!(!dir.path().join("taken.partial").exists());
    book.backup(&dir.path().join("backup")).unwrap();
}

#[tokio::test]
async fn long_rows_stay_in_the_file_that_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(SledEngine::open(dir.path()).unwrap());
    let book = Book::on(engine, crate::options()).unwrap();
    for n in 0..40_u8 {
        let text = format!("# policy {n}\n").repeat(20_000);
        book.set_policy([n; 32], text, OPERATOR, noon()).await.unwrap();
    }
    let spilled = fs::read_dir(dir.path().join("blobs")).map_or(0, Iterator::count);
    assert_eq!(spilled, 0, "sled keeps long messages in files of their own, which we do not sync");
}

#[test]
fn rows_of_every_length_are_read_back_replaced_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let engines: [&dyn Engine; 2] = [
        &SledEngine::open(&dir.path().join("s")).unwrap(),
        &FjallEngine::open(&dir.path().join("f")).unwrap(),
    ];
    engines.into_iter().for_each(rows_of_every_length);
}

fn rows_of_every_length(engine: &dyn Engine) {
    let row = |length: usize| Value::from(vec![length as u8; length]);
    let mut old: Option<Value> = None;
    for length in [0, 1, 3071, 3072, 3073, 9216, 6144, 512 * 1024, 3072, 6145, 10] {
        let new = Some(row(length));
        engine.apply(&[Change { key: b"Pk".to_vec(), old: old.clone(), new: new.clone() }]).unwrap();
        assert_eq!(engine.get(b"Pk").unwrap(), new, "{length} octets");
        assert_eq!(engine.scan(b"P", b"Q", 9).unwrap(), [(b"Pk".to_vec(), row(length))]);
        old = new;
    }
    let left = engine.scan(&[0xff], &[0xff, 0xff, 0xff], 9).unwrap();
    assert_eq!(left, [], "no continuation outlives its row");
    engine.apply(&[Change { key: b"Pk".to_vec(), old, new: None }]).unwrap();
    assert_eq!(engine.get(b"Pk").unwrap(), None);
}

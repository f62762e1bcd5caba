//! The archive: old events leave the book for files, and readers go on as if nothing had happened.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use countersign_store::engine::{Engine, FjallEngine, MemoryEngine};
use countersign_store::{
    Archive, Book, Event, HandedOn, Observer, Options, Stage, Store, StoreError, StoredEvent,
};
use proptest::prelude::*;

use crate::house::noon;

/// Events of one file in these tests, and events that stay.
const RANGE: u64 = 8;
const WINDOW: u64 = 5;

/// Opens the same book again and again.
pub(crate) trait Shop: Fn(Options) -> Book {}
impl<F: Fn(Options) -> Book> Shop for F {}

fn small(dir: &Path) -> Archive {
    Archive::at(dir).with_ranges_of(RANGE, WINDOW)
}

fn archived(dir: &Path) -> Options {
    crate::options().archived(small(dir))
}

async fn append(book: &Book, count: u64) {
    let from = book.counts().unwrap().events;
    let events = (from..from + count).map(|n| {
        let event = Event::new("test.event", noon()).text("words", format!("\"seq\":{n}, ünd\nmore"));
        // Every third one is about nobody.
        if n.is_multiple_of(3) { event } else { event.personal("source", format!("192.0.2.{n}")) }
    });
    book.append_events(events.collect()).await.unwrap();
}

/// Hands on what there is to hand on; gives the number of events that left.
async fn hand_on(book: &Book) -> u64 {
    let mut events = 0;
    loop {
        let HandedOn { events: more_events, more } = book.hand_on_events().await.unwrap();
        events += more_events;
        if !more {
            return events;
        }
    }
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

fn all(book: &Book) -> Vec<StoredEvent> {
    book.events(0, usize::MAX).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn file(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:012}-{:012}.jsonl.gz", first + RANGE - 1))
}

fn personal_file(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:012}-{:012}.personal.jsonl.gz", first + RANGE - 1))
}

fn rows(engine: &dyn Engine) -> usize {
    engine.scan(b"E", b"F", usize::MAX).unwrap().len()
}

pub(crate) async fn old_events_leave_in_whole_ranges_and_are_told_as_before(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("state/events");
    let book = open(archived(&dir));
    append(&book, RANGE + WINDOW - 1).await;
    assert_eq!(hand_on(&book).await, 0, "too few to leave");
    assert!(!dir.exists());
    append(&book, 18).await;
    let before = all(&book);
    assert_eq!(hand_on(&book).await, 3 * RANGE, "thirty events, of which five stay");
    assert_eq!(names(&dir).len(), 6, "two files for each range, and nothing left aside: {:?}", names(&dir));
    assert_eq!(all(&book), before, "the same octets, the same persons");
    assert_eq!(book.counts().unwrap().events, 30);
    for (after, limit) in
        [(0, 1), (3, 2), (7, 1), (6, 5), (7, 20), (23, 3), (24, 3), (29, 9), (30, 9), (5, 0)]
    {
        let expected: Vec<_> = (after + 1..=30).take(limit).collect();
        assert_eq!(numbers(&book.events(after, limit).unwrap()), expected, "{limit} behind {after}");
    }
    drop(book);
    let book = open(archived(&dir));
    assert_eq!(all(&book), before, "after a start, too");
    append(&book, 1).await;
    assert_eq!(hand_on(&book).await, 0);
    assert_eq!(numbers(&all(&book)), (1..=31).collect::<Vec<_>>());
}

pub(crate) async fn a_book_without_its_archive_says_where_its_events_are(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let book = open(archived(place.path()));
    append(&book, 20).await;
    hand_on(&book).await;
    drop(book);
    let book = open(crate::options());
    assert_eq!(book.events(0, 9).unwrap_err(), StoreError::NoArchive { last: 8 });
    assert_eq!(numbers(&book.events(8, 3).unwrap()), [9, 10, 11]);
    append(&book, 20).await;
    assert_eq!(
        book.hand_on_events().await.unwrap(),
        HandedOn::default(),
        "there is nowhere to hand them on to"
    );
}

pub(crate) async fn events_that_cannot_leave_stay_and_nothing_else_stops(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("events");
    fs::write(&dir, "in the way").unwrap();
    let book = open(archived(&dir));
    append(&book, 30).await;
    let before = all(&book);
    for _ in 0..2 {
        let refusal = book.hand_on_events().await.unwrap_err();
        let named = matches!(&refusal, StoreError::ArchiveUnwritten { file, .. } if *file == dir.display().to_string());
        assert!(named, "{refusal}");
        assert_eq!(book.health().read_only, None);
        append(&book, 1).await;
    }
    assert_eq!(all(&book)[..30], before);
    fs::remove_file(&dir).unwrap();
    assert_eq!(hand_on(&book).await, 24, "once it is put right they leave");
    assert_eq!(all(&book)[..30], before);
}

pub(crate) async fn a_damaged_file_is_refused_by_name_and_later_events_are_readable(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("events");
    let book = open(archived(&dir));
    append(&book, 40).await;
    hand_on(&book).await;
    let before = all(&book);
    for path in [file(&dir, 9), personal_file(&dir, 9)] {
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 4;
        let longer = [&whole[..], b"\n"].concat();
        let other =
            fs::read(dir.join(
                path.file_name().unwrap().to_str().unwrap().replace("09-", "01-").replace("016.", "008."),
            ))
            .unwrap();
        for bad in [&flipped[..], &whole[..whole.len() - 1], &whole[..whole.len() / 2], b"", &longer, &other]
        {
            fs::write(&path, bad).unwrap();
            assert_eq!(book.events(0, 1000).unwrap(), before[..8], "what is before it is told");
            let refusal = book.events(8, 1000).unwrap_err();
            let named = matches!(&refusal, StoreError::ArchiveDamaged { file, .. } if *file == path.display().to_string());
            assert!(named, "{refusal}");
            assert!(refusal.to_string().contains("put it back from a backup"), "{refusal}");
            small(&dir).examine().unwrap_err();
            assert_eq!(book.events(16, 1000).unwrap(), before[16..], "what is behind it can be read");
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(all(&book), before);
    assert_eq!(small(&dir).examine().unwrap(), 32);
}

pub(crate) async fn old_files_may_be_moved_away_but_none_from_the_middle(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("events");
    let book = open(archived(&dir));
    append(&book, 40).await;
    hand_on(&book).await;
    let before = all(&book);
    let move_away =
        |first| [file(&dir, first), personal_file(&dir, first)].map(|file| fs::remove_file(file).unwrap());
    move_away(1);
    assert_eq!(all(&book), before[8..], "the list begins with the first that is there");
    assert_eq!(numbers(&book.events(3, 2).unwrap()), [9, 10]);
    move_away(17);
    assert_eq!(book.events(0, 1000).unwrap(), before[8..16]);
    let refusal = book.events(16, 1000).unwrap_err();
    let expected =
        StoreError::ArchiveMissing { file: file(&dir, 17).display().to_string(), first: 17, last: 24 };
    assert_eq!(refusal, expected);
    assert_eq!(book.events(24, 1000).unwrap(), before[24..]);
    move_away(9);
    move_away(25);
    assert_eq!(all(&book), before[32..]);
    append(&book, 8).await;
    assert_eq!(hand_on(&book).await, 8);
    assert_eq!(numbers(&all(&book)), (33..=48).collect::<Vec<_>>());
}

pub(crate) async fn a_link_that_leads_nowhere_is_refused_by_name_and_is_left_out_of_no_backup(
    open: impl Shop,
) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("events");
    let book = open(archived(&dir));
    append(&book, 20).await;
    hand_on(&book).await;
    let (oldest, personal) = (file(&dir, 1), personal_file(&dir, 1));
    let to_nowhere = |file: &Path| {
        fs::remove_file(file).unwrap();
        std::os::unix::fs::symlink("nowhere", file).unwrap();
    };
    to_nowhere(&oldest);
    let missing = StoreError::ArchiveMissing { file: oldest.display().to_string(), first: 1, last: 8 };
    assert_eq!(book.events(0, 1000).unwrap_err(), missing);
    assert_eq!(small(&dir).examine().unwrap_err(), missing);
    assert_eq!(numbers(&book.events(8, 2).unwrap()), [9, 10]);
    to_nowhere(&personal);
    let backed_up = book.backup(&place.path().join("backup")).unwrap();
    assert_eq!(backed_up.archive, [oldest, personal], "whoever copies them finds that they are not whole");
}

pub(crate) async fn a_person_is_forgotten_and_the_octets_stay(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let book = open(archived(place.path()));
    append(&book, 20).await;
    hand_on(&book).await;
    let before = all(&book);
    assert!(before[1].personal[0].value.starts_with("192.0.2."));
    fs::remove_file(personal_file(place.path(), 1)).unwrap();
    let after = all(&book);
    assert!(after[..8].iter().all(|event| event.personal.is_empty()));
    assert!(before.iter().zip(&after).all(|(before, after)| before.bytes == after.bytes));
    assert_eq!(after[8..], before[8..]);
}

pub(crate) async fn no_file_with_other_events_is_written_over(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let other = Book::in_memory(archived(place.path())).unwrap();
    other.append_events((0..20).map(|_| Event::new("test.other", noon())).collect()).await.unwrap();
    hand_on(&other).await;
    let path = file(place.path(), 1);
    let theirs = fs::read(&path).unwrap();
    let book = open(archived(place.path()));
    append(&book, 20).await;
    let refusal = book.hand_on_events().await.unwrap_err().to_string();
    assert!(refusal.contains("other events than the book") && refusal.contains("000000000001-"), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), theirs);
    // What nobody can read holds no events of anybody.
    fs::write(&path, &theirs[..40]).unwrap();
    assert_eq!(hand_on(&book).await, 8);
    assert_eq!(numbers(&all(&book)), (1..=20).collect::<Vec<_>>());
}

pub(crate) async fn a_backup_names_the_files_that_belong_to_it(open: impl Shop) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("events");
    let book = open(archived(&dir));
    append(&book, 12).await;
    let early = place.path().join("early.backup");
    assert!(book.backup(&early).unwrap().archive.is_empty());
    assert!(
        fs::read(&early).unwrap().starts_with(b"COUNTERSIGN BOOK 1\n"),
        "as releases before the archive wrote it"
    );
    append(&book, 20).await;
    hand_on(&book).await;
    // A file that the book does not know of yet is of no backup.
    fs::write(file(&dir, 25), "of a crash").unwrap();
    let late = place.path().join("late.backup");
    let backed_up = book.backup(&late).unwrap();
    let expected: Vec<_> =
        [1, 9, 17].iter().flat_map(|first| [file(&dir, *first), personal_file(&dir, *first)]).collect();
    assert_eq!(backed_up.archive, expected);
    assert!(
        fs::read(&late).unwrap().starts_with(b"COUNTERSIGN BOOK 2\n"),
        "others would lose events without a word"
    );
    let restored_dir = place.path().join("restored/events");
    fs::create_dir_all(&restored_dir).unwrap();
    for file in &backed_up.archive {
        fs::copy(file, restored_dir.join(file.file_name().unwrap())).unwrap();
    }
    let restored =
        Book::restore(&late, &place.path().join("restored/book"), archived(&restored_dir)).unwrap();
    assert_eq!(all(&restored), all(&book));
    append(&restored, 20).await;
    assert_eq!(hand_on(&restored).await, 16);
    assert_eq!(numbers(&all(&restored)), (1..=52).collect::<Vec<_>>());
    let restored =
        Book::restore(&early, &place.path().join("older/book"), archived(&place.path().join("older/events")));
    assert_eq!(all(&restored.unwrap()), all(&book)[..12], "an older backup, too");
}

#[tokio::test]
async fn rows_leave_the_book_and_the_files_are_for_their_owner_and_for_zcat() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("events");
    let engine = Arc::new(MemoryEngine::new());
    // Nine bundles and a bit, so that a reader hops, and more rows than leave at once.
    let archive = Archive::at(&dir).with_ranges_of(2_500, 10);
    let book = Book::on(engine.clone(), crate::options().archived(archive)).unwrap();
    append(&book, 5_300).await;
    let before = all(&book);
    assert_eq!(hand_on(&book).await, 5_000);
    assert_eq!(rows(&*engine), 300);
    assert_eq!(all(&book), before);
    assert_eq!(book.events(2_490, 20).unwrap(), before[2_490..2_510]);
    assert_eq!(book.events(300, 1).unwrap(), before[300..301]);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for name in names(&dir) {
        assert_eq!(fs::metadata(dir.join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let mut text = String::new();
    let packed = fs::File::open(dir.join("000000000001-000000002500.jsonl.gz")).unwrap();
    flate2::read::MultiGzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let expected: Vec<_> =
        before[..2_500].iter().map(|event| std::str::from_utf8(&event.bytes).unwrap()).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert!(!text.contains("192.0.2."), "what is personal stands elsewhere");
}

/// Copies the files at the arrows of a handing on, as a process that is killed there leaves them.
struct Photographer {
    from: PathBuf,
    to: PathBuf,
    taken: Mutex<usize>,
}

impl Observer for Photographer {
    fn stage(&self, _: Stage) {
        if !self.from.join("events").exists() {
            return;
        }
        let mut taken = self.taken.lock().unwrap();
        crate::on_disk::killed_copy(&self.from, &self.to.join(taken.to_string()));
        *taken += 1;
    }
}

/// Invariant 2.
#[tokio::test]
async fn events_are_told_once_wherever_a_handing_on_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (place.path().join("live"), place.path().join("copies"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    let taker = Arc::new(Photographer { from: from.clone(), to: to.clone(), taken: Mutex::default() });
    let options = archived(&from.join("events")).observed_by(taker.clone());
    let book = Book::open(&from.join("book"), options).unwrap();
    append(&book, 22).await;
    let before = all(&book);
    assert_eq!(hand_on(&book).await, 16);
    drop(book);
    let taken = *taker.taken.lock().unwrap();
    assert!(taken >= 12, "file, mark and rows of two ranges: {taken}");
    for n in 0..taken {
        let copy = to.join(n.to_string());
        let open = || Book::open(&copy.join("book"), archived(&copy.join("events"))).unwrap();
        let book = open();
        assert_eq!(all(&book), before, "copy {n}");
        hand_on(&book).await;
        assert_eq!(all(&book), before, "copy {n}, gone on");
        drop(book);
        let engine = FjallEngine::open(&copy.join("book")).unwrap();
        assert_eq!(rows(&engine), 6, "copy {n}: no row is left behind");
    }
}

/// What may happen to a book, in any order.
#[derive(Debug, Clone)]
enum Happening {
    Append(u64),
    HandOn,
    Read { after: u64, limit: usize },
    Reopen,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (1..14_u64).prop_map(Happening::Append),
        3 => Just(Happening::HandOn),
        3 => (0..120_u64, 0..40_usize).prop_map(|(after, limit)| Happening::Read { after, limit }),
        1 => Just(Happening::Reopen),
    ]
}

async fn live(happenings: &[Happening], dir: &Path, open: impl Shop) -> Result<(), TestCaseError> {
    let (mut book, reference) = (open(archived(dir)), Book::in_memory(crate::options()).unwrap());
    for happening in happenings {
        match happening {
            Happening::Append(count) => {
                append(&book, *count).await;
                append(&reference, *count).await;
            }
            Happening::HandOn => {
                book.hand_on_events().await.unwrap();
            }
            Happening::Read { after, limit } => {
                let told = numbers(&book.events(*after, *limit).unwrap());
                let expected: Vec<_> = (after + 1..=book.counts().unwrap().events).take(*limit).collect();
                prop_assert_eq!(told, expected);
            }
            Happening::Reopen => {
                drop(book);
                book = open(archived(dir));
            }
        }
    }
    let (told, expected) = (all(&book), all(&reference));
    prop_assert_eq!(numbers(&told), (1..=reference.counts().unwrap().events).collect::<Vec<_>>());
    // Salts are drawn anew after each opening; what is committed to is the same.
    let words = |event: &StoredEvent| {
        let told: serde_json::Value = serde_json::from_slice(&event.bytes).unwrap();
        let personal: Vec<_> =
            event.personal.iter().map(|one| (one.field.clone(), one.value.clone())).collect();
        (told["words"].clone(), personal)
    };
    for (told, expected) in told.iter().zip(&expected) {
        prop_assert_eq!(words(told), words(expected));
        for one in &told.personal {
            prop_assert!(String::from_utf8_lossy(&told.bytes).contains(&one.commitment()));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_event_is_told_once_and_in_order(happenings in prop::collection::vec(happening(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let place = tempfile::tempdir().unwrap();
        let memory = Arc::new(MemoryEngine::new());
        let on_memory = |options| Book::on(memory.clone(), options).unwrap();
        runtime.block_on(live(&happenings, &place.path().join("one"), on_memory))?;
        let on_fjall = |options| Book::open(&place.path().join("book"), options).unwrap();
        runtime.block_on(live(&happenings, &place.path().join("other"), on_fjall))?;
    }
}

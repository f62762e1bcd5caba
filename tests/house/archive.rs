//! Old events leave the book for files of the state directory, and whoever reads events goes on as if they had not.

use std::{
    fs::{self, File},
    time::{Duration, Instant},
};

use countersign_identity::Timestamp;
use countersign_store::{Book, Event, Options, Store as _};
use rustix::fs::statvfs;
use serde_json::Value;

use crate::{
    ca::{Ca, Setup},
    restoration::{lose, restore},
    wire,
};

/// Events of one file, and the newest, which stay.
const RANGE: u64 = 16_384;
const FIRST: &str = "000000000001-000000016384.jsonl.gz";

/// A CA that does not run, with so many events in its book as leave one range to go.
fn full(setup: &Setup) -> Ca {
    let ca = setup.init();
    let book =
        Book::open(&ca.state().join("book"), Options::new(Box::new(|salt: &mut [u8]| salt.fill(7)))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let event = |n: u64| {
        let event = Event::new("test.seeded", Timestamp::from_unix(1_795_435_200)).number("n", n);
        event.personal("source", "192.0.2.7")
    };
    for share in 0..2 * RANGE / 512 {
        let events = (share * 512..(share + 1) * 512).map(event).collect();
        runtime.block_on(book.append_events(events)).unwrap();
    }
    ca
}

/// Waits until so many events have left.
fn wait_for_archived(ca: &Ca, events: u64) {
    let (line, until) =
        (format!("countersign_events_archived {events}\n"), Instant::now() + Duration::from_secs(60));
    while !wire::plain_get(ca.ops(), "/metrics").unwrap().1.contains(&line) {
        assert!(Instant::now() < until, "{}", ca.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn numbers(events: &Value) -> Vec<u64> {
    events.as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// Every number once, in order, from `first` on.
fn all_told(ca: &Ca, first: u64) {
    let told = numbers(&ca.json(&["events", "list"]));
    assert!(told.len() as u64 > 2 * RANGE - first, "{}", told.len());
    assert!(told.iter().copied().eq(first..first + told.len() as u64));
}

#[test]
fn old_events_leave_the_book_and_every_reader_goes_on() {
    let mut ca = full(&Setup::new());
    ca.start_again();
    wait_for_archived(&ca, RANGE);
    let events = ca.state().join("events");
    assert!(events.join(FIRST).exists());
    all_told(&ca, 1);
    let around = ca.json(&["events", "list", "--after", "16380", "--limit", "9"]);
    assert_eq!(numbers(&around), (16_381..=16_389).collect::<Vec<_>>());
    assert_eq!(around[0]["source"], "192.0.2.7", "what is personal is shown from its own file");
    assert!(ca.run(&["check"]).succeeded().contains("old events leave the book: 16384 have"));

    // As long as the whole disk, and not an octet of it written.
    let (file, disk) =
        (File::options().write(true).open(events.join(FIRST)).unwrap(), statvfs(&events).unwrap());
    let length = file.metadata().unwrap().len();
    file.set_len(disk.f_blocks * disk.f_frsize).unwrap();
    ca.run(&["backup", "backup.tar"]).failed(1, &["backup_refused", "MiB are free there", "state/events"]);
    file.set_len(length).unwrap();
    let left = fs::read_dir(ca.state()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with(".backup")).count(), 0);
    ca.run(&["backup", "backup.tar"]).succeeded();
    lose(&mut ca);
    let whole = fs::read(ca.scratch("backup.tar")).unwrap();
    let name = whole.windows(FIRST.len()).position(|found| found == FIRST.as_bytes()).unwrap();
    let mut flipped = whole.clone();
    flipped[name + 100_000] ^= 1;
    fs::write(ca.scratch("backup.tar"), flipped).unwrap();
    let refusal = restore(&ca, &[]);
    assert!(!refusal.err.contains("--after"), "a remedy for a CA that runs: {}", refusal.err);
    refusal.failed(1, &[&format!("state/events/{FIRST} in"), "is damaged", "tar --delete --file"]);
    fs::write(ca.scratch("backup.tar"), whole).unwrap();
    restore(&ca, &[]).succeeded();
    ca.start_again();
    all_told(&ca, 1);

    let whole = fs::read(events.join(FIRST)).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 1;
    fs::write(events.join(FIRST), &flipped).unwrap();
    let listed = ca.run(&["events", "list"]);
    let last = listed.out.lines().last().and_then(|row| row.split_whitespace().next()).unwrap();
    let last: u64 = last.parse().unwrap();
    assert!(last > 1000 && last < RANGE && last.is_multiple_of(256), "all before the damaged bundle: {last}");
    listed.failed(1, &["state/events/000000000001-", "is damaged", "--after 16384"]);
    let later = ca.json(&["events", "list", "--after", "16384", "--limit", "2"]);
    assert_eq!(numbers(&later), [16_385, 16_386]);

    for entry in fs::read_dir(&events).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    all_told(&ca, RANGE + 1);
    let listed = ca.run(&["events", "list", "--limit", "1"]);
    assert!(listed.err.contains("events 1 to 16384 are not here any more"), "{}", listed.err);
    assert!(listed.succeeded().contains("16385"));
}

#[test]
fn a_disk_that_refuses_the_archive_stops_nothing_else() {
    let mut ca = full(&Setup::new());
    fs::write(ca.state().join("events"), "in the way").unwrap();
    ca.start_again();
    let until = Instant::now() + Duration::from_secs(60);
    while !wire::plain_get(ca.ops(), "/metrics").unwrap().1.contains("countersign_archive_failing 1\n") {
        assert!(Instant::now() < until, "{}", ca.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    ca.enroll_agent("/payments", "machine");
    ca.agent(&["renew", "--dir", "machine"]).succeeded();
    let checked = ca.run(&["check"]);
    assert!(
        checked.out.contains("old events stay in the book") && checked.out.contains("state/events"),
        "{}",
        checked.out
    );
    assert_eq!(checked.code, Some(1));
    assert!(ca.log().contains("old events stay in the book"));
    all_told(&ca, 1);
}

/// Invariant 2.
#[cfg(feature = "failpoints")]
#[test]
fn a_ca_killed_between_file_and_book_tells_every_event_once() {
    use std::os::unix::process::ExitStatusExt as _;

    let mut ca = full(&Setup::new().environment("COUNTERSIGN_FAILPOINT", "{dir}/arrow"));
    for arrow in ["AfterArchive", "AfterHandingOn"] {
        fs::write(ca.scratch("arrow"), arrow).unwrap();
        // It dies at once, or as soon as it is ready.
        if ca.try_start().is_ok() {
            assert_eq!(ca.wait().signal(), Some(9), "{arrow}");
        }
        assert!(ca.state().join("events").join(FIRST).exists(), "{arrow}");
    }
    fs::remove_file(ca.scratch("arrow")).unwrap();
    ca.start_again();
    wait_for_archived(&ca, RANGE);
    all_told(&ca, 1);
}

//! Faults: a disk that is slow, and one that fails. What readers and callers see of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use countersign_store::engine::{Change, Engine, Key, MemoryEngine, Value};
use countersign_store::{Book, Event, Observer, Options, Stage, Store, StoreError};

use crate::agent::Desk;
use crate::house::{noon, registration};

/// Memory whose syncs wait while the gate is shut, and fail from a given one on.
#[derive(Debug, Default)]
struct Faulty {
    memory: MemoryEngine,
    shut: Mutex<bool>,
    opened: Condvar,
    syncs: AtomicU64,
    failing: AtomicBool,
    refusing: AtomicBool,
}

impl Faulty {
    fn shut(&self) {
        *self.shut.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.shut.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

fn eio() -> StoreError {
    StoreError::Io {
        doing: "sync the book to the disk".into(),
        why: "Input/output error (os error 5)".into(),
    }
}

impl Engine for Faulty {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.memory.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError> {
        self.memory.scan(from, to, limit)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        if self.refusing.load(Ordering::SeqCst) {
            return Err(eio());
        }
        self.memory.apply(changes)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        let mut shut = self.shut.lock().unwrap();
        while *shut {
            shut = self.opened.wait(shut).unwrap();
        }
        if self.failing.load(Ordering::SeqCst) { Err(eio()) } else { Ok(()) }
    }
}

fn faulty() -> (Arc<Faulty>, Arc<Book>) {
    faulty_with(crate::options())
}

fn faulty_with(options: Options) -> (Arc<Faulty>, Arc<Book>) {
    let engine = Arc::new(Faulty::default());
    let book = Arc::new(Book::on(engine.clone(), options).unwrap());
    (engine, book)
}

async fn reaches_sync(engine: &Faulty, number: u64) {
    while engine.syncs.load(Ordering::SeqCst) < number {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn nothing_is_visible_before_its_flush() {
    let (engine, book) = faulty();
    let desk = Desk { book: &book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let (counts, events, trust) = (book.counts().unwrap(), book.events(0, 99).unwrap(), desk.trust());
    engine.shut();
    let syncs = engine.syncs.load(Ordering::SeqCst);
    let (id, order) = (agent.machine, book.clone());
    let waiting = tokio::spawn(async move {
        let target = countersign_store::Target::Machine(id);
        order.revoke(target, String::new(), false, countersign_store::Actor::House, noon()).await
    });
    reaches_sync(&engine, syncs + 1).await;
    assert!(!waiting.is_finished(), "no answer");
    assert!(!desk.is_listed(agent.serial), "no row");
    assert_eq!(book.standing(agent.serial).unwrap().unwrap().issuance.revoked, None);
    assert_eq!((book.counts().unwrap(), book.events(0, 99).unwrap(), desk.trust()), (counts, events, trust));
    engine.open();
    waiting.await.unwrap().unwrap();
    assert!(desk.is_listed(agent.serial));
    assert_eq!(desk.trust(), trust + 1);
}

#[tokio::test]
async fn a_refusal_that_rests_on_an_unflushed_command_waits_for_its_flush() {
    let (engine, book) = faulty();
    let desk = Desk { book: &book, now: noon() };
    let registration = registration("/payments");
    let hash = desk.invite(&registration, 1).await;
    engine.shut();
    let syncs = engine.syncs.load(Ordering::SeqCst);
    let redeem = |delay| {
        let (book, registration) = (book.clone(), registration.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let desk = Desk { book: &book, now: noon() };
            let ids = (
                crate::house::machine_from(crate::house::draw()),
                crate::house::lineage_from(crate::house::draw()),
                crate::house::serial(),
            );
            desk.redeem(&registration, hash, &crate::house::key(), ids).await.map(drop)
        })
    };
    let first = redeem(Duration::ZERO);
    reaches_sync(&engine, syncs + 1).await;
    let second = redeem(Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!first.is_finished() && !second.is_finished(), "not even the refusal");
    engine.open();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_failed_sync_fails_the_group_and_latches_read_only() {
    for at_apply in [false, true] {
        let (engine, book) = faulty();
        let desk = Desk { book: &book, now: noon() };
        let agent = desk.enroll(&registration("/payments")).await;
        let (events, kinds) = (book.events(0, 99).unwrap(), desk.kinds());
        let fault = if at_apply { &engine.refusing } else { &engine.failing };
        fault.store(true, Ordering::SeqCst);
        let failed = desk.try_invite(&registration("/web"), 1).await.unwrap_err();
        assert!(matches!(&failed, StoreError::ReadOnly { why } if why.contains("os error 5")), "{failed}");

        fault.store(false, Ordering::SeqCst);
        let later = desk.try_invite(&registration("/web"), 1).await.unwrap_err();
        assert_eq!(later, failed, "it stays so, whatever the disk says now");
        let refusal = desk.ask(&agent, &crate::house::key(), crate::house::serial()).await.err();
        assert!(matches!(refusal, Some(countersign_issuance::LedgerError::ReadOnly { .. })));
        assert!(book.health().read_only.is_some());

        assert_eq!(book.events(0, 99).unwrap(), events, "queries go on and show nothing of the failed group");
        assert_eq!(desk.kinds(), kinds);
        assert_eq!(book.registration(&registration("/web").id).unwrap(), None);
        assert!(book.standing(agent.serial).unwrap().is_some());
    }
}

#[tokio::test]
async fn commands_past_the_limit_are_refused_as_busy() {
    let (engine, book) = faulty_with(Options { queue_depth: 2, ..crate::options() });
    let syncs = engine.syncs.load(Ordering::SeqCst);
    engine.shut();
    let append = || {
        let book = book.clone();
        tokio::spawn(async move { book.append_events(vec![Event::new("test.event", noon())]).await })
    };
    let mut waiting = vec![append()];
    reaches_sync(&engine, syncs + 1).await;
    waiting.extend([append(), append()]);
    while book.health().waiting < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let refusal = append().await.unwrap().unwrap_err();
    assert_eq!(refusal, StoreError::Busy { limit: 2 });
    engine.open();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    assert_eq!(book.counts().unwrap().events, 3);
}

#[tokio::test]
async fn many_commands_share_one_flush() {
    let (engine, book) = faulty();
    let before = engine.syncs.load(Ordering::SeqCst);
    engine.shut();
    let appends: Vec<_> = (0..100)
        .map(|_| {
            let book = book.clone();
            tokio::spawn(async move { book.append_events(vec![Event::new("test.event", noon())]).await })
        })
        .collect();
    while book.health().waiting < 99 && engine.syncs.load(Ordering::SeqCst) == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    engine.open();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    let syncs = engine.syncs.load(Ordering::SeqCst) - before;
    assert!(syncs <= 10, "{syncs} flushes for 100 commands");
    assert_eq!(book.health().groups, syncs);
    assert_eq!(book.counts().unwrap().events, 100);
}

#[tokio::test]
async fn a_caller_that_stops_waiting_does_not_stop_its_command() {
    let (engine, book) = faulty();
    engine.shut();
    let syncs = engine.syncs.load(Ordering::SeqCst);
    let impatient = book.clone();
    let append =
        tokio::spawn(async move { impatient.append_events(vec![Event::new("test.event", noon())]).await });
    reaches_sync(&engine, syncs + 1).await;
    append.abort();
    append.await.unwrap_err();
    engine.open();
    drop(book);
    let reopened = Book::on(engine, crate::options()).unwrap();
    assert_eq!(reopened.counts().unwrap().events, 1);
}

#[tokio::test]
async fn a_query_costs_no_flush_and_a_refusal_none_either() {
    let (engine, book) = faulty();
    let desk = Desk { book: &book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let before = engine.syncs.load(Ordering::SeqCst);
    book.standing(agent.serial).unwrap();
    desk.present(agent.serial, countersign_store::Door::Other).await;
    desk.ask(&agent, &agent.key, crate::house::serial()).await.err().unwrap();
    assert_eq!(engine.syncs.load(Ordering::SeqCst), before);
}

#[derive(Default)]
struct Watcher {
    stages: Mutex<Vec<Stage>>,
    commands: AtomicU64,
}

impl Observer for Watcher {
    fn group(&self, commands: usize, _: Duration) {
        self.commands.fetch_add(commands as u64, Ordering::SeqCst);
    }

    fn stage(&self, stage: Stage) {
        self.stages.lock().unwrap().push(stage);
    }
}

#[tokio::test]
async fn an_observer_sees_each_group_and_its_stages() {
    let watcher = Arc::new(Watcher::default());
    let book = Book::in_memory(crate::options().observed_by(watcher.clone())).unwrap();
    book.append_events(vec![Event::new("test.event", noon())]).await.unwrap();
    drop(book);
    assert_eq!(*watcher.stages.lock().unwrap(), [Stage::BeforeApply, Stage::AfterApply, Stage::AfterSync]);
    assert_eq!(watcher.commands.load(Ordering::SeqCst), 1);
}

/// Dies inside the committer.
struct Fatal;

impl Observer for Fatal {
    fn stage(&self, stage: Stage) {
        assert!(stage != Stage::AfterApply, "a defect, for the test");
    }
}

#[tokio::test]
async fn a_defect_in_the_committer_latches_the_book_and_leaves_nobody_waiting() {
    let book = Book::in_memory(crate::options().observed_by(Arc::new(Fatal))).unwrap();
    let event = || vec![Event::new("test.event", noon())];
    let first = book.append_events(event()).await.unwrap_err();
    assert_eq!(first, StoreError::Closed);
    book.append_events(event()).await.unwrap_err();
    while book.health().read_only.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(book.append_events(event()).await, Err(StoreError::ReadOnly { .. })));
    assert_eq!(book.events(0, 9).unwrap(), [], "what was not flushed is not shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_see_one_moment_while_commands_go_on() {
    let (_, book) = faulty();
    let writer = book.clone();
    let writing = tokio::spawn(async move {
        for _ in 0..300 {
            let pair = vec![Event::new("test.one", noon()), Event::new("test.other", noon())];
            writer.append_events(pair).await.unwrap();
        }
    });
    let mut seen = HashSet::new();
    while !writing.is_finished() {
        let events = book.events(0, usize::MAX).unwrap();
        assert_eq!(events.len() % 2, 0, "never half of a command");
        assert!(events.iter().zip(1..).all(|(event, number)| event.seq == number));
        seen.insert(events.len());
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_copies_one_moment_while_commands_go_on() {
    let (_, book) = faulty();
    let registrations = (0..600).map(|n| registration(&format!("/n{n}"))).collect();
    book.import_registrations(registrations, false, countersign_store::Actor::House, noon()).await.unwrap();
    let writer = book.clone();
    let writing = tokio::spawn(async move {
        for n in 0..200 {
            let desk = Desk { book: &writer, now: noon() };
            desk.try_invite(&registration(&format!("/later{n}")), 1).await.unwrap();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut n = 0;
    while !writing.is_finished() {
        n += 1;
        let (file, into) = (dir.path().join(format!("{n}.backup")), dir.path().join(format!("{n}")));
        let copying = book.clone();
        let to = file.clone();
        tokio::task::spawn_blocking(move || copying.backup(&to)).await.unwrap().unwrap();
        let restored = Book::restore(&file, &into, crate::options()).unwrap();
        let counts = restored.counts().unwrap();
        let events = restored.events(0, usize::MAX).unwrap().len() as u64;
        assert_eq!(
            counts.registrations,
            600 + counts.invitations,
            "an invitation comes with its registration"
        );
        assert_eq!((counts.events, events), (600 + 2 * counts.invitations, counts.events));
    }
    writing.await.unwrap();
}

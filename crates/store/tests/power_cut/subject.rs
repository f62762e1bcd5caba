//! The program whose power is cut: it runs commands against a book and writes a receipt for each one that is answered.
//!
//! It is this test binary, run once more under strace. Receipts are writes like any other, so the trace says for each
//! what had reached the disk at that moment.

use std::env;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_store::engine::{Change, Engine, Key, Value};
use countersign_store::{Book, Store, StoreError, Target};
use sha2::{Digest, Sha256};

use crate::agent::{Desk, OPERATOR};
use crate::engines::Kind;
use crate::house::{draw, key, noon, registration};
use crate::trace;

const TASK: &str = "COUNTERSIGN_POWER_CUT_SUBJECT";

/// What a subject shall do.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) kind: Kind,
    /// Machines that enroll and renew at once.
    pub(crate) machines: usize,
    /// Renewals of each.
    pub(crate) renewals: usize,
    /// Long rows, some 60 KB each.
    pub(crate) policies: usize,
    /// Which run on the same disk this is: serials differ.
    pub(crate) run: u64,
}

impl Task {
    /// Runs the subject under strace on the book in `place/state`; gives the trace.
    pub(crate) fn traced(&self, strace: &Path, place: &Path) -> Vec<trace::Step> {
        let (file, receipts) = (place.join("trace"), place.join("receipts"));
        let words = [self.machines, self.renewals, self.policies].map(|n| n.to_string()).join(" ");
        let task = format!("{} {words} {} {}", self.kind.name(), self.run, place.display());
        let done = Command::new(strace)
            .args(["-f", "-qq", "-s", "9999999", "-e", "signal=none", "-e", trace::CALLS, "-o"])
            .arg(&file)
            .arg(env::current_exe().unwrap())
            .args(["subject::a_subject", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(TASK, task)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        trace::read(&file, &place.join("state"), &receipts)
    }
}

#[test]
#[ignore = "the tests of this room run it under strace"]
fn a_subject() {
    let Ok(task) = env::var(TASK) else { return };
    let mut words = task.splitn(6, ' ');
    let kind: Kind = words.next().unwrap().parse().unwrap();
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    let [machines, renewals, policies, run] = [number(), number(), number(), number()];
    let place = PathBuf::from(words.next().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let receipts = Receipts::at(&place.join("receipts"));
        let dir = place.join("state/book");
        let engine = kind.open(&dir).unwrap();
        let engine = Watched::over(engine, receipts.clone());
        let book = Arc::new(Book::on(Arc::new(engine), crate::options(&dir)).unwrap());
        // Numbers of other runs have been used.
        while draw() < run * 10_000 {}
        let work = Work { book, receipts, run };
        work.all(machines, renewals, policies).await;
    });
}

/// Where the subject says what it has been told.
#[derive(Debug, Clone)]
struct Receipts(Arc<Mutex<File>>);

impl Receipts {
    fn at(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self(Arc::new(Mutex::new(file)))
    }

    fn say(&self, what: impl Display) {
        self.0.lock().unwrap().write_all(format!("{what}\n").as_bytes()).unwrap();
    }
}

/// An engine whose batches leave receipts: the digest of all rows after each, before it is applied and when it is
/// durable.
#[derive(Debug)]
struct Watched {
    inner: Box<dyn Engine>,
    receipts: Receipts,
    state: Mutex<(u64, u128)>,
}

impl Watched {
    fn over(inner: Box<dyn Engine>, receipts: Receipts) -> Self {
        let digest = digest(&*inner).unwrap();
        Self { inner, receipts, state: Mutex::new((0, digest)) }
    }
}

/// The digest of all rows: the sum of the digests of each, so that it can be carried on change by change.
pub(crate) fn digest(engine: &dyn Engine) -> Result<u128, StoreError> {
    let rows = engine.scan(&[], &[0xff], usize::MAX)?;
    Ok(rows.iter().map(|(key, value)| digest_of_row(key, value)).fold(0, u128::wrapping_add))
}

fn digest_of_row(key: &[u8], value: &[u8]) -> u128 {
    let row = Sha256::new().chain_update((key.len() as u64).to_be_bytes()).chain_update(key);
    let digest = row.chain_update(value).finalize();
    u128::from_be_bytes(digest[..16].try_into().unwrap())
}

impl Engine for Watched {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.inner.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError> {
        self.inner.scan(from, to, limit)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        for Change { key, old, new } in changes {
            let of = |value: &Option<Value>| value.as_ref().map_or(0, |value| digest_of_row(key, value));
            state.1 = state.1.wrapping_sub(of(old)).wrapping_add(of(new));
        }
        self.receipts.say(format!("begun {:x}", state.1));
        self.inner.apply(changes)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()?;
        self.receipts.say("durable");
        Ok(())
    }
}

/// Digest of the first events, as they are told.
pub(crate) fn told(book: &Book, last: u64) -> Result<String, StoreError> {
    let events = book.events(0, usize::try_from(last).unwrap())?;
    let digest = events.iter().fold(Sha256::new(), |all, event| all.chain_update(&event.bytes));
    Ok(countersign_identity::hex::encode(&digest.finalize()))
}

#[derive(Clone)]
struct Work {
    book: Arc<Book>,
    receipts: Receipts,
    run: u64,
}

impl Work {
    fn ack(&self, what: &str, which: impl Display) {
        self.receipts.say(format!("ack {what} {which}"));
    }

    async fn all(self, machines: u64, renewals: u64, policies: u64) {
        let mut tasks = Vec::new();
        for n in 0..machines {
            tasks.push(tokio::spawn(self.clone().machine(n, renewals)));
        }
        tasks.push(tokio::spawn(self.clone().policies(policies)));
        tasks.push(tokio::spawn(self.clone().registrations(4)));
        let over = Arc::new(AtomicBool::new(false));
        let archiving = tokio::spawn(self.clone().archive(over.clone()));
        for task in tasks {
            task.await.unwrap();
        }
        over.store(true, Ordering::SeqCst);
        archiving.await.unwrap();
    }

    /// Old events leave while the others go on, and after that until all have.
    async fn archive(self, over: Arc<AtomicBool>) {
        loop {
            let last_turn = over.load(Ordering::SeqCst);
            if self.book.hand_on_events().await.unwrap().events > 0 {
                let last = self.book.counts().unwrap().archived;
                self.ack("archived", format!("{last}:{}", told(&self.book, last).unwrap()));
            } else if last_turn {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A machine's life, with a receipt for all it is told.
    async fn machine(self, n: u64, renewals: u64) {
        let desk = Desk { book: &self.book, now: noon() };
        let registration = registration(&format!("/run{}/m{n}", self.run));
        let hash = desk.invite(&registration, 1).await;
        self.ack("invited", hash.iter().map(|octet| format!("{octet:02x}")).collect::<String>());
        let mut agent = desk.enroll_by(&registration, hash, key()).await.unwrap();
        self.ack("enrolled", agent.serial);
        for _ in 0..renewals {
            desk.renew(&mut agent).await.unwrap();
            self.ack("renewed", agent.serial);
        }
        if n.is_multiple_of(3) {
            desk.revoke(Target::Serial(agent.serial)).await;
            self.ack("revoked", agent.serial);
        }
    }

    /// Long rows, and rows replaced.
    async fn policies(self, count: u64) {
        for n in 0..count {
            let text = format!("# policy {n} of run {}\n", self.run).repeat(2_500);
            let version: [u8; 32] = Sha256::digest(&text).into();
            let number = self.book.set_policy(version, text, OPERATOR, noon()).await.unwrap();
            self.ack("policy", number);
        }
    }

    async fn registrations(self, count: u64) {
        for n in 0..count {
            let many: Vec<_> = (0..40).map(|m| registration(&format!("/run{}/i{n}/{m}", self.run))).collect();
            let id = many[39].id.clone();
            self.book.import_registrations(many, false, OPERATOR, noon()).await.unwrap();
            self.ack("registered", id);
        }
    }
}

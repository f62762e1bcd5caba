//! The committer: one thread that runs commands one after the other and makes whole groups of them durable at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::engine::{Change, Engine};
use crate::observer::{Health, Observer, Stage};
use crate::overlay::Overlay;
use crate::queue::Queue;
use crate::shadow::{Shadow, View};
use crate::transaction::Transaction;
use crate::{Entropy, StoreError, trust, workloads};

/// Commands of one group at most: enough to share one flush, few enough that the first does not wait long.
const GROUP: usize = 256;

/// Tells the caller how its command ended, once it is known whether the group is durable.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A command, ready to run.
type Job = Box<dyn FnOnce(&mut Transaction<'_>) -> Answer + Send>;

/// The engine with its one writer.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    engine: Arc<dyn Engine>,
    shadow: Shadow,
    queue: Queue<Job>,
    observer: Arc<dyn Observer>,
    read_only: Mutex<Option<String>>,
    groups: AtomicU64,
    commands: AtomicU64,
    last_sync_micros: AtomicU64,
    trust: watch::Sender<u64>,
    children: watch::Sender<u64>,
}

impl Committer {
    pub(crate) fn start(
        engine: Arc<dyn Engine>,
        queue_depth: usize,
        observer: Arc<dyn Observer>,
        entropy: Entropy,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            engine,
            shadow: Shadow::default(),
            queue: Queue::new(queue_depth),
            observer,
            read_only: Mutex::new(None),
            groups: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            last_sync_micros: AtomicU64::new(0),
            trust: watch::Sender::new(0),
            children: watch::Sender::new(0),
        });
        let sequence = shared.shadow.query(&*shared.engine, |view| trust::sequence(view))?;
        shared.trust.send_replace(sequence);
        let sequence = shared.shadow.query(&*shared.engine, |view| workloads::sequence(view))?;
        shared.children.send_replace(sequence);
        let worker = shared.clone();
        let thread = std::thread::Builder::new()
            .name("book-committer".into())
            .spawn(move || worker.run(entropy))
            .map_err(|e| StoreError::Io { doing: "start the committer".into(), why: e.to_string() })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Runs a command and answers when it is durable. A command that has been lined up runs even if the caller
    /// stops waiting.
    pub(crate) async fn command<T, E>(
        &self,
        command: impl FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.shared.writable()?;
        let (sender, answer) = oneshot::channel();
        self.shared.queue.push(Box::new(move |transaction| {
            let outcome = transaction.attempt(command);
            Box::new(move |durable| {
                // Nobody may be waiting any more; the command stands all the same.
                let _ = sender.send(durable.map_err(E::from).and(outcome));
            })
        }))?;
        match answer.await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Closed.into()),
        }
    }

    /// Runs a command with some later group; false if too many wait already.
    pub(crate) fn later(
        &self,
        command: impl FnOnce(&mut Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> bool {
        self.shared.queue.push_idle(Box::new(move |transaction| {
            let outcome = transaction.attempt(command);
            Box::new(move |durable| {
                if let Err(error) = durable.and(outcome) {
                    tracing::warn!(%error, "a signed certificate was not kept");
                }
            })
        }))
    }

    /// Runs a query on what is durable now.
    pub(crate) fn query<T>(
        &self,
        query: impl FnOnce(&View<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.shared.shadow.query(&*self.shared.engine, query);
        match result {
            // After a failed write sled refuses reads as well, in the words of the write.
            Err(StoreError::Io { .. }) => self.shared.writable().and(result),
            other => other,
        }
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.shared.engine
    }

    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shared.shadow
    }

    /// The trust sequence, as it becomes durable.
    pub(crate) fn trust(&self) -> watch::Receiver<u64> {
        self.shared.trust.subscribe()
    }

    /// The number of changes of registrations under a parent, as they become durable.
    pub(crate) fn children(&self) -> watch::Receiver<u64> {
        self.shared.children.subscribe()
    }

    pub(crate) fn health(&self) -> Health {
        let shared = &self.shared;
        Health {
            read_only: shared.read_only.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            groups: shared.groups.load(Ordering::Relaxed),
            commands: shared.commands.load(Ordering::Relaxed),
            last_sync: Duration::from_micros(shared.last_sync_micros.load(Ordering::Relaxed)),
            waiting: shared.queue.waiting(),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.take() {
            // A committer that panicked has latched the book already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, mut entropy: Entropy) {
        let _alarm = Alarm(self);
        while let Some(jobs) = self.queue.take(GROUP) {
            self.group(jobs, &mut entropy);
        }
    }

    fn group(&self, jobs: Vec<Job>, entropy: &mut Entropy) {
        let commands = jobs.len();
        let mut transaction = Transaction::new(Overlay::new(&*self.engine, self.shadow.recent()), entropy);
        let answers: Vec<Answer> = jobs.into_iter().map(|job| job(&mut transaction)).collect();
        let changes = transaction.into_changes();
        // What a command said after a failed write may rest on rows that never became durable.
        let durable =
            if changes.is_empty() { self.writable() } else { self.make_durable(&changes, commands) };
        for answer in answers {
            answer(durable.clone());
        }
    }

    /// Whatever happens in here, readers see the group only once it is on the disk.
    fn make_durable(&self, changes: &[Change], commands: usize) -> Result<(), StoreError> {
        self.writable()?;
        self.observer.stage(Stage::BeforeApply);
        self.shadow.mask(changes);
        let started = Instant::now();
        let flushed = self.engine.apply(changes).and_then(|()| {
            self.observer.stage(Stage::AfterApply);
            self.engine.sync()
        });
        if let Err(error) = flushed {
            return Err(self.latch(error.to_string()));
        }
        let took = started.elapsed();
        self.observer.stage(Stage::AfterSync);
        self.shadow.lift(changes);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.commands.fetch_add(u64::try_from(commands).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.last_sync_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(sequence) = trust::changed_sequence(changes)? {
            self.trust.send_replace(sequence);
        }
        if let Some(sequence) = workloads::changed_sequence(changes)? {
            self.children.send_replace(sequence);
        }
        self.observer.group(commands, took);
        Ok(())
    }

    fn writable(&self) -> Result<(), StoreError> {
        match &*self.read_only.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(StoreError::ReadOnly { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// After a failed write nothing more is written: what the disk holds is known only to the next start.
    fn latch(&self, why: String) -> StoreError {
        tracing::error!(why, "the book is read-only from here on");
        let mut read_only = self.read_only.lock().unwrap_or_else(PoisonError::into_inner);
        let why = read_only.get_or_insert(why).clone();
        StoreError::ReadOnly { why }
    }
}

/// Latches the book should the committer's thread die.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.latch("the committer stopped at a defect".into());
        }
        self.0.queue.close();
        // Dropping what is lined up tells those who wait that nobody will answer.
        while self.0.queue.take(GROUP).is_some() {}
    }
}

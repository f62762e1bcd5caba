//! Decision events: what a service decided, kept in bounded memory until the certificate authority has it.

mod note;
mod queue;
#[cfg(feature = "http")]
mod send;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_identity::Clock;
use serde::Serialize;
use tokio::sync::Notify;

use crate::clock::SystemClock;
use queue::{Queue, Waiting};

pub(crate) use note::Note;

/// How many outcomes wait at most, some 2 MB. Those alike are counted together, so that a service which few call often
/// never fills it, however long the CA is away.
const ROOM: usize = 8192;

/// The most outcomes in one report, as the CA reads them.
const MOST: usize = 512;

/// Collects the outcomes of one service for the certificate authority, which shows them in `countersign events` and
/// tells from them which grants are in use. Cloning shares it.
///
/// Nothing waits for it: an outcome costs a lock and a few short copies. When more happens than can be sent, allowed
/// outcomes that are alike are counted together, then allowed ones are left out, and refused ones last of all. What was
/// left out is counted and told.
///
/// ```no_run
/// # #[cfg(feature = "http")]
/// # async fn example(trust: countersign_verifier::LiveTrust) -> Result<(), Box<dyn std::error::Error>> {
/// use countersign_verifier::{OwnIdentity, Reporter};
/// let me = OwnIdentity::from_files("svid.pem", "svid.key")?;
/// let reporter = Reporter::of("ledger");
/// let link = trust.link("https://ca.example:8443".parse()?, me.clone())?;
/// tokio::spawn(reporter.clone().send_over(link));
/// let gate = trust.gate().reporting(reporter.clone());
/// // and `ServerSettings::reporting(reporter)` for who comes in
/// # Ok(()) }
/// ```
///
/// The CA takes reports from whoever holds `countersign:report-events` and is the service, as its policy has it. Without
/// the feature `http`, or for another way there, [`take`](Reporter::take) hands out the reports.
#[derive(Clone)]
pub struct Reporter(Arc<Shared>);

/// How reporting is doing; each but `waiting` only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportCounts {
    /// Outcomes the CA has.
    pub reported: u64,
    /// Outcomes left out for want of room, allowed ones before any refused one.
    pub dropped: u64,
    /// Attempts to report that failed.
    pub failed: u64,
    /// Entries that wait to be reported; those alike are one.
    pub waiting: usize,
}

/// A report on its way: at most 512 entries, the oldest first.
#[derive(Debug)]
pub struct Report {
    service: Box<str>,
    decisions: Vec<Waiting>,
    dropped: u64,
}

struct Shared {
    service: Box<str>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Rung when a whole report waits.
    full: Notify,
}

struct State {
    queue: Queue,
    counts: ReportCounts,
}

impl Reporter {
    /// For the service with this name in the policy.
    #[must_use]
    pub fn of(service: &str) -> Self {
        Self::by(service, Arc::new(SystemClock))
    }

    /// The same by another clock than the machine's.
    #[must_use]
    pub fn by(service: &str, clock: Arc<dyn Clock>) -> Self {
        let state = State { queue: Queue::new(ROOM), counts: ReportCounts::default() };
        Self(Arc::new(Shared {
            service: service.into(),
            clock,
            state: Mutex::new(state),
            full: Notify::new(),
        }))
    }

    /// How it is doing.
    #[must_use]
    pub fn counts(&self) -> ReportCounts {
        let state = self.state();
        ReportCounts { waiting: state.queue.len(), dropped: state.queue.dropped(), ..state.counts }
    }

    /// The next report, if anything waits. Whoever takes it says what became of it: [`sent`](Reporter::sent) or
    /// [`failed`](Reporter::failed).
    #[must_use]
    pub fn take(&self) -> Option<Report> {
        let (decisions, dropped) = self.state().queue.take(MOST)?;
        Some(Report { service: self.0.service.clone(), decisions, dropped })
    }

    /// The CA has it.
    pub fn sent(&self, report: &Report) {
        let count = report.decisions.iter().map(Waiting::count).sum();
        let mut state = self.state();
        state.counts.reported = state.counts.reported.saturating_add(count);
    }

    /// It did not get there: what it holds waits again, before everything newer.
    pub fn failed(&self, report: Report) {
        let mut state = self.state();
        state.counts.failed = state.counts.failed.saturating_add(1);
        state.queue.put_back(report.decisions, report.dropped);
    }

    /// The CA will never take it: counted as left out.
    #[cfg(feature = "http")]
    fn given_up(&self, report: &Report) {
        let mut state = self.state();
        state.counts.failed = state.counts.failed.saturating_add(1);
        state.queue.leave_out_all(&report.decisions, report.dropped);
    }

    /// Takes note of an outcome.
    pub(crate) fn note(&self, note: Note) {
        let now = self.0.clock.now();
        let waiting = {
            let mut state = self.state();
            state.queue.push(note, now);
            state.queue.len()
        };
        if waiting >= MOST {
            self.0.full.notify_one();
        }
    }

    /// Waits until there is enough for a whole report.
    #[cfg(feature = "http")]
    async fn is_full(&self) {
        self.0.full.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// The body of `POST /v1/events`, JSON.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Written<'a> {
            service: &'a str,
            decisions: &'a [Waiting],
            dropped: u64,
        }
        let Self { service, decisions, dropped } = self;
        let written = Written { service, decisions, dropped: *dropped };
        // Strings and numbers: there is nothing that could fail.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether it tells of left-out outcomes alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("service", &self.0.service).field("counts", &self.counts()).finish()
    }
}

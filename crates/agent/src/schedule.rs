//! When to renew, when to ask the CA for its window, when to come back after expiry: a machine without clock, network or
//! randomness of its own.
//!
//! It is told what happened and what time it is, and answers how things stand and what to do. A year of renewals runs in
//! milliseconds.
//!
//! ```
//! use countersign_agent::schedule::{Action, Event, Lease, Schedule, State};
//! use countersign_agent::Window;
//! use countersign_identity::{Timestamp, Validity};
//! use rand::{SeedableRng as _, rngs::StdRng};
//! use std::time::Duration;
//!
//! let start = Timestamp::from_unix(1_795_000_000);
//! let minutes = |n: u64| start + Duration::from_secs(60 * n);
//! let lease = Lease {
//!     validity: Validity::new(start, minutes(60))?,
//!     window: Window { after: minutes(20), before: minutes(30) },
//! };
//! let mut schedule = Schedule::new(StdRng::seed_from_u64(1));
//! assert!(matches!(schedule.on(Event::Loaded(lease), start), (State::Fresh, Action::Wait(_))));
//! assert_eq!(schedule.on(Event::Tick, minutes(30)), (State::Renewing, Action::Renew));
//! assert_eq!(schedule.on(Event::Tick, minutes(61)), (State::Expired, Action::Recover));
//! # Ok::<(), countersign_identity::ValidityError>(())
//! ```

use std::time::Duration;

use countersign_identity::{Timestamp, Validity};
use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};

use crate::error::AgentError;
use crate::identity::{Identity, Window};

/// The longest sleep. The wall clock may jump (a suspended laptop, a corrected clock), so it is read this often.
pub const TICK: Duration = Duration::from_secs(30);
/// The shortest time between two attempts, whatever happens.
const BASE: Duration = Duration::from_secs(1);
/// The longest pause after a failure: even a week's certificate is renewed soon after the CA is back.
const CAP: Duration = Duration::from_secs(300);
/// The pause after a refusal for good is between [`CAP`] and this: an operator may resume the machine, nobody else can
/// change the answer.
const LASTING: Duration = Duration::from_secs(600);
/// The longest `Retry-After` that is believed: longer than any honest overload, shorter than a day without identity.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// Renewals that are late at the start are spread over this: a whole rack may have come back at once.
const LATE_START: Duration = Duration::from_secs(5);
/// The CA is asked for its window no more often, whatever it says.
const ASK_OFTEN: Duration = Duration::from_secs(30);
/// And no less often, so that a window that is pulled forward is heard of the same day.
const ASK_RARELY: Duration = Duration::from_secs(6 * 3600);

/// The times of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lease {
    /// From when to when it is valid.
    pub validity: Validity,
    /// When it is to be renewed.
    pub window: Window,
}

impl From<&Identity> for Lease {
    fn from(identity: &Identity) -> Self {
        Self { validity: identity.validity(), window: identity.window() }
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The CA is away or busy, or something on this machine is in the way: the next attempt may succeed.
    Passing,
    /// By the CA's clock the certificate has expired.
    Expired,
    /// The CA refused for good: only an operator can change that.
    Refused,
    /// An operator suspended the machine or has yet to approve it, and may resume it.
    Suspended,
}

impl From<&AgentError> for Failure {
    fn from(error: &AgentError) -> Self {
        match error.code() {
            Some(code) if error.is_lasting() => crate::refusal::failure(code),
            _ => Self::Passing,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A certificate was found on disk, at the start or put there by somebody else.
    Loaded(Lease),
    /// Nothing but time passed.
    Tick,
    /// An operator wants a renewal now.
    RenewNow,
    /// The renewal or recovery succeeded.
    Renewed(Lease),
    /// The CA told its window.
    Window {
        /// The window as it stands.
        window: Window,
        /// When to ask again.
        ask_again: Duration,
    },
    /// The CA did not tell its window.
    WindowUnknown,
    /// The renewal or recovery failed.
    Failed {
        /// How.
        failure: Failure,
        /// How long the CA asked to be left alone.
        retry_after: Option<Duration>,
    },
}

/// How things stand.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no certificate yet.
    Enrolling,
    /// The certificate is valid and its window has not begun.
    Fresh,
    /// The window is open, or an operator or the CA wants a renewal now.
    Renewing,
    /// The window is over and the certificate still valid: every attempt has failed.
    Stale,
    /// The certificate's time is over.
    Expired,
    /// The CA refuses, and only an operator can change that.
    Refused,
    /// An operator suspended the machine or has yet to approve it.
    Suspended,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Renew, then tell how it ended.
    Renew,
    /// Come back after expiry, then tell how it ended.
    Recover,
    /// Ask the CA for its window, then tell what it said.
    AskWindow,
    /// Sleep this long, at most [`TICK`], then send a [`Event::Tick`].
    Wait(Duration),
}

/// Decides when to renew.
#[derive(Debug)]
pub struct Schedule<R> {
    dice: R,
    lease: Option<Lease>,
    /// The part of the lease's window, or the other window, that the CA named last.
    told: Option<Window>,
    due: Option<Timestamp>,
    /// When the CA is next asked for its window; none never asks.
    ask: Option<Timestamp>,
    asks: bool,
    /// The latest reading of the clock.
    seen: Timestamp,
    last_attempt: Option<Timestamp>,
    last_failure: Option<Failure>,
    /// The pause before this one; zero while all is well.
    pause: Duration,
}

impl<R: Rng> Schedule<R> {
    /// A schedule that knows no certificate yet and throws these dice.
    #[must_use]
    pub const fn new(dice: R) -> Self {
        Self {
            dice,
            lease: None,
            told: None,
            due: None,
            ask: None,
            asks: false,
            seen: Timestamp::MIN,
            last_attempt: None,
            last_failure: None,
            pause: Duration::ZERO,
        }
    }

    /// The same, which also asks the CA whether its window has moved.
    #[must_use]
    pub fn asking(self) -> Self {
        Self { asks: true, ..self }
    }

    /// When the next attempt is planned.
    #[must_use]
    pub const fn next_attempt(&self) -> Option<Timestamp> {
        self.due
    }

    /// How things stand at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        let Some(lease) = self.lease else { return State::Enrolling };
        match self.last_failure {
            Some(Failure::Refused) => State::Refused,
            Some(Failure::Suspended) => State::Suspended,
            Some(Failure::Expired) => State::Expired,
            _ if now > lease.validity.not_after() => State::Expired,
            Some(Failure::Passing) if now > lease.window.before => State::Stale,
            _ if self.due.is_some_and(|due| now >= due) || now >= lease.window.after => State::Renewing,
            _ => State::Fresh,
        }
    }

    /// Takes note of what happened; says how things stand and what to do now.
    pub fn on(&mut self, event: Event, now: Timestamp) -> (State, Action) {
        self.follow_clock(now);
        match event {
            Event::Loaded(lease) => {
                self.holds(lease, now);
                self.pause = Duration::ZERO;
                let at = self.inside(lease.window, now).unwrap_or_else(|| now + self.late_start(lease, now));
                self.due = Some(at);
            }
            Event::Renewed(lease) => {
                self.holds(lease, now);
                match self.inside(lease.window, now) {
                    Some(at) => {
                        self.pause = Duration::ZERO;
                        self.due = Some(at);
                    }
                    // The new certificate's window is over already: a clock is wrong. Renewing at once would get
                    // another such one, and so on.
                    None => self.back_off(now, None),
                }
            }
            Event::Window { window, ask_again } => self.moved(window, ask_again, now),
            Event::WindowUnknown => self.ask_later(ASK_RARELY / 24, now),
            Event::Failed { failure, retry_after } => self.failed(failure, retry_after, now),
            Event::RenewNow => self.due = Some(now),
            Event::Tick => {}
        }
        let action = self.decide(now);
        (self.state(now), action)
    }

    fn holds(&mut self, lease: Lease, now: Timestamp) {
        self.lease = Some(lease);
        self.told = None;
        self.last_failure = None;
        // A twelfth of its life: an hour's certificate is asked about some three times before its window begins.
        self.ask_later(lease.validity.lifetime() / 12, now);
    }

    /// The CA's word on the window counts, except against a refusal or a pause that is being kept.
    fn moved(&mut self, window: Window, ask_again: Duration, now: Timestamp) {
        self.ask_later(ask_again, now);
        let Some(lease) = &mut self.lease else { return };
        if self.told.unwrap_or(lease.window) == window || window.before < window.after {
            return;
        }
        self.told = Some(window);
        // A part of the window says when to come; that whoever misses it is late, only the whole one says.
        if window.after < lease.window.after || lease.window.before < window.before {
            lease.window = window;
        }
        let lease = *lease;
        if self.last_failure.is_none() {
            let at = self.inside(window, now).unwrap_or_else(|| now + self.late_start(lease, now));
            self.due = Some(at);
        }
    }

    fn failed(&mut self, failure: Failure, retry_after: Option<Duration>, now: Timestamp) {
        // A recovery that is refused because the certificate has expired is a refusal: the allowance is used up.
        let failure = match (failure, self.last_failure) {
            (Failure::Expired, Some(Failure::Expired | Failure::Refused)) => Failure::Refused,
            _ => failure,
        };
        let is_news = self.last_failure != Some(failure);
        self.last_failure = Some(failure);
        match failure {
            Failure::Passing => self.back_off(now, retry_after),
            // The clocks differ: this machine thought that it could renew. Recovery is due at once.
            Failure::Expired if is_news => self.due = Some(now + BASE),
            Failure::Expired | Failure::Refused | Failure::Suspended => {
                let pause =
                    self.between(CAP, LASTING).max(retry_after.unwrap_or_default().min(LONGEST_ASKED));
                self.pause = pause;
                self.due = Some(now + pause);
            }
        }
    }

    /// A clock that was set back makes no wait longer: the distance to the next attempt stays what it was.
    fn follow_clock(&mut self, now: Timestamp) {
        if now < self.seen {
            self.due = self.due.map(|due| now + due.since(self.seen));
            self.ask = self.ask.map(|ask| now + ask.since(self.seen));
            self.last_attempt = self.last_attempt.map(|last| last.min(now));
        }
        self.seen = now;
    }

    fn decide(&mut self, now: Timestamp) -> Action {
        let due = self.due.map(|due| self.last_attempt.map_or(due, |last| due.max(last + BASE)));
        let ask = self.ask.filter(|_| self.asks && self.state(now) <= State::Renewing);
        if due.is_some_and(|due| now >= due) {
            self.last_attempt = Some(now);
            let is_over = self.lease.is_some_and(|lease| now > lease.validity.not_after());
            let recovers = is_over || self.last_failure == Some(Failure::Expired);
            return if recovers { Action::Recover } else { Action::Renew };
        }
        if ask.is_some_and(|ask| now >= ask) {
            // Whatever comes of it, it is not asked again at once.
            self.ask = Some(now + ASK_OFTEN);
            return Action::AskWindow;
        }
        let next = [due, ask].into_iter().flatten().min();
        Action::Wait(next.map_or(TICK, |next| next.since(now).clamp(BASE, TICK)))
    }

    /// A uniformly random second of what is left of the window: machines enrolled together drift apart.
    fn inside(&mut self, window: Window, now: Timestamp) -> Option<Timestamp> {
        let from = window.after.max(now);
        (now < window.before && from <= window.before)
            .then(|| from + self.between(Duration::ZERO, window.before.since(from)))
    }

    fn ask_later(&mut self, pause: Duration, now: Timestamp) {
        let pause = pause.clamp(ASK_OFTEN, ASK_RARELY);
        // A fifth either way: those who were answered together do not come back together.
        self.ask = Some(now + self.between(pause * 4 / 5, pause * 6 / 5));
    }

    fn late_start(&mut self, lease: Lease, now: Timestamp) -> Duration {
        let remaining = lease.validity.not_after().since(now);
        self.between(Duration::ZERO, LATE_START.min(remaining / 10))
    }

    /// Decorrelated jitter: between the base and three times the last pause, so that neither one machine's attempts nor
    /// those of many fall into step. It grows up to a sixtieth of the certificate's life, the same for machines that are
    /// early and late in theirs: a fleet that waited for the CA to come back then comes evenly over that time. Only where a
    /// tenth of the remaining life is less, the end makes it more eager.
    fn back_off(&mut self, now: Timestamp, asked: Option<Duration>) {
        let cap = self.lease.map_or(CAP, |lease| {
            let remaining = lease.validity.not_after().since(now);
            let usual = (lease.validity.lifetime() / 60).min(CAP);
            if remaining.is_zero() { CAP } else { usual.min(remaining / 10).max(BASE) }
        });
        let high = BASE.max(self.pause * 3);
        // Grown to the cap, a pause keeps to its last tenth: attempts of many then stay evenly spread.
        let low = if high >= cap { (cap * 9 / 10).max(BASE) } else { BASE };
        let jittered = self.between(low, high.min(cap));
        self.pause = jittered;
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        // All who were sent away together would otherwise come back together.
        let spread = self.between(Duration::ZERO, asked / 10);
        self.due = Some(now + jittered.max(asked + spread));
    }

    /// A whole number of seconds between the two, both included.
    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_secs(self.dice.random_range(low.as_secs()..=high.as_secs().max(low.as_secs())))
    }
}

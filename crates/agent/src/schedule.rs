//! When to renew: a machine without clock, network or randomness of its own.
//!
//! It is told what happened and what time it is, and answers what to do. A year of renewals runs in milliseconds.
//!
//! ```
//! use countersign_agent::schedule::{Action, Event, Lease, Schedule};
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
//! assert!(matches!(schedule.on(Event::Loaded(lease), start), Action::Wait(_)));
//! assert_eq!(schedule.on(Event::Tick, minutes(30)), Action::Renew);
//! # Ok::<(), countersign_identity::ValidityError>(())
//! ```

use std::time::Duration;

use countersign_identity::{Timestamp, Validity};
use rand::{Rng, RngExt as _};

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

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A certificate was found on disk, at the start or put there by somebody else.
    Loaded(Lease),
    /// Nothing but time passed.
    Tick,
    /// An operator wants a renewal now.
    RenewNow,
    /// The renewal succeeded.
    Renewed(Lease),
    /// The renewal failed.
    Failed {
        /// The CA refused for good: only an operator can change that.
        lasting: bool,
        /// How long the CA asked to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Renew, then tell how it ended.
    Renew,
    /// Sleep this long, at most [`TICK`], then send a [`Event::Tick`].
    Wait(Duration),
}

/// Decides when to renew.
#[derive(Debug)]
pub struct Schedule<R> {
    dice: R,
    lease: Option<Lease>,
    due: Option<Timestamp>,
    /// The latest reading of the clock.
    seen: Timestamp,
    last_attempt: Option<Timestamp>,
    /// The pause before this one; zero while all is well.
    pause: Duration,
}

impl<R: Rng> Schedule<R> {
    /// A schedule that knows no certificate yet and throws these dice.
    #[must_use]
    pub const fn new(dice: R) -> Self {
        Self { dice, lease: None, due: None, seen: Timestamp::MIN, last_attempt: None, pause: Duration::ZERO }
    }

    /// When the next attempt is planned.
    #[must_use]
    pub const fn next_attempt(&self) -> Option<Timestamp> {
        self.due
    }

    /// Takes note of what happened and says what to do now.
    pub fn on(&mut self, event: Event, now: Timestamp) -> Action {
        self.follow_clock(now);
        match event {
            Event::Loaded(lease) => {
                self.lease = Some(lease);
                self.pause = Duration::ZERO;
                let at = self.inside(lease.window, now).unwrap_or_else(|| now + self.late_start(lease, now));
                self.due = Some(at);
            }
            Event::Renewed(lease) => {
                self.lease = Some(lease);
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
            Event::Failed { lasting: false, retry_after } => self.back_off(now, retry_after),
            Event::Failed { lasting: true, retry_after } => {
                let pause =
                    self.between(CAP, LASTING).max(retry_after.unwrap_or_default().min(LONGEST_ASKED));
                self.pause = pause;
                self.due = Some(now + pause);
            }
            Event::RenewNow => self.due = Some(now),
            Event::Tick => {}
        }
        self.decide(now)
    }

    /// A clock that was set back makes no wait longer: the distance to the next attempt stays what it was.
    fn follow_clock(&mut self, now: Timestamp) {
        if now < self.seen {
            self.due = self.due.map(|due| now + due.since(self.seen));
            self.last_attempt = self.last_attempt.map(|last| last.min(now));
        }
        self.seen = now;
    }

    fn decide(&mut self, now: Timestamp) -> Action {
        let Some(due) = self.due else { return Action::Wait(TICK) };
        let at = self.last_attempt.map_or(due, |last| due.max(last + BASE));
        if now >= at {
            self.last_attempt = Some(now);
            return Action::Renew;
        }
        Action::Wait(at.since(now).min(TICK))
    }

    /// A uniformly random second of what is left of the window: machines enrolled together drift apart.
    fn inside(&mut self, window: Window, now: Timestamp) -> Option<Timestamp> {
        let from = window.after.max(now);
        (now < window.before && from <= window.before)
            .then(|| from + self.between(Duration::ZERO, window.before.since(from)))
    }

    fn late_start(&mut self, lease: Lease, now: Timestamp) -> Duration {
        let remaining = lease.validity.not_after().since(now);
        self.between(Duration::ZERO, LATE_START.min(remaining / 10))
    }

    /// Decorrelated jitter: between the base and three times the last pause, so that neither one machine's attempts nor
    /// those of many fall into step. The cap is a tenth of the remaining life: the closer the end, the more eager.
    fn back_off(&mut self, now: Timestamp, asked: Option<Duration>) {
        let remaining = self.lease.map_or(Duration::ZERO, |lease| lease.validity.not_after().since(now));
        let cap = if remaining.is_zero() { CAP } else { (remaining / 10).clamp(BASE, CAP) };
        let jittered = self.between(BASE, BASE.max(self.pause * 3)).min(cap);
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

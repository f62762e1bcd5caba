//! When a rule is in force.

use countersign_identity::Timestamp;
use std::fmt;

/// From a first second on, up to but not including a last; either may be open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first second in force.
    pub from: Option<Timestamp>,
    /// The first second no longer in force.
    pub until: Option<Timestamp>,
}

/// How a [`Window`] stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Force {
    /// The rule will begin at this time.
    NotYet(Timestamp),
    /// The rule counts.
    InForce,
    /// The rule ended at this time.
    Over(Timestamp),
}

impl Window {
    /// How it stands at `now`.
    #[must_use]
    pub fn force(&self, now: Timestamp) -> Force {
        match (self.from, self.until) {
            (_, Some(until)) if now >= until => Force::Over(until),
            (Some(from), _) if now < from => Force::NotYet(from),
            _ => Force::InForce,
        }
    }

    /// The next time after `now` at which the rule begins or ends.
    #[must_use]
    pub fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        [self.from, self.until].into_iter().flatten().filter(|edge| *edge > now).min()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.until) {
            (None, None) => f.write_str("always"),
            (Some(from), None) => write!(f, "from {from}"),
            (None, Some(until)) => write!(f, "until {until}"),
            (Some(from), Some(until)) => write!(f, "from {from} until {until}"),
        }
    }
}

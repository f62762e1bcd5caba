//! How trust is doing, for a service's own health page and metrics.

use countersign_identity::{Clock, Timestamp};
use countersign_policy::PolicyVersion;

use crate::snapshot::Snapshot;
use crate::staleness::HardLimit;

/// What a service may say of its trust in one trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustState {
    /// No snapshot was seen yet: nobody is let in.
    Waiting,
    /// The snapshot is one its authority still stands by.
    Fresh,
    /// The snapshot has expired and none came since: who was revoked meanwhile is not known here.
    Stale,
    /// The snapshot is older than the hard limit: nobody is let in.
    Refusing,
}

/// How trust in one trust domain is doing, at the moment it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustHealth {
    /// In one word.
    pub state: TrustState,
    /// The epoch of the snapshot in force.
    pub epoch: Option<u64>,
    /// Its number.
    pub sequence: Option<u64>,
    /// When it was issued.
    pub issued: Option<Timestamp>,
    /// When it becomes stale.
    pub expires: Option<Timestamp>,
    /// The policy in force.
    pub policy: PolicyVersion,
    /// Why the policy of the snapshot is not in force: an older one still is.
    pub policy_fault: Option<String>,
    /// What went wrong since the last snapshot came.
    pub last_fault: Option<String>,
    /// What happened since the start.
    pub counts: Counts,
}

/// What happened since the start; for metrics, each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Snapshots that came into force.
    pub adopted: u64,
    /// Snapshots that were forged, older or damaged.
    pub refused: u64,
    /// Attempts to get one that failed.
    pub unreachable: u64,
    /// Attempts to keep a snapshot on disk that failed: the one there is older.
    pub unkept: u64,
}

impl TrustState {
    pub(super) fn of(held: Option<&Snapshot>, limit: HardLimit, clock: &dyn Clock) -> Self {
        let Some(snapshot) = held else { return Self::Waiting };
        match clock.now() {
            now if now > limit.end(snapshot.issued()) => Self::Refusing,
            now if now > snapshot.expires() => Self::Stale,
            _ => Self::Fresh,
        }
    }

    /// The word, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Refusing => "refusing",
        }
    }
}

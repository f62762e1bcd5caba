//! The stages an issuance passes on this machine, where a test may cut it short.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

/// A point between two steps. Whatever stops the agent at one of them, the next start completes the work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The new key is on disk, file and directory synced; nobody was asked yet.
    PendingKeyDurable,
    /// The connection to the CA stands; the request is about to leave.
    BeforeRequest,
    /// The CA has answered; nothing of the answer is on disk.
    AfterAnswer,
    /// The new generation is on disk; `current` still names the one before.
    GenerationWritten,
    /// `current` names the new generation; nothing is tidied, no reload command ran.
    CurrentSwapped,
}

impl Stage {
    /// All stages, in the order they are reached.
    pub const ALL: [Self; 5] = [
        Self::PendingKeyDurable,
        Self::BeforeRequest,
        Self::AfterAnswer,
        Self::GenerationWritten,
        Self::CurrentSwapped,
    ];

    /// The stage's name, as the failpoint variable spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingKeyDurable => "pending-key-durable",
            Self::BeforeRequest => "before-request",
            Self::AfterAnswer => "after-answer",
            Self::GenerationWritten => "generation-written",
            Self::CurrentSwapped => "current-swapped",
        }
    }
}

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| UnknownStage { found: text.to_owned() })
    }
}

/// A text that names no stage.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no stage is called {found:?}")]
pub struct UnknownStage {
    found: String,
}

/// The agent was told to stop at a stage, as a crash would have stopped it: nothing is cleaned up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("stopped at the stage {}", .0.as_str())]
pub struct Interrupted(pub Stage);

/// Hears of every stage. A crash test answers with an error or does not return at all.
pub trait Stages: Send + Sync + Debug {
    /// The stage has been reached; an error leaves everything as it lies.
    ///
    /// # Errors
    /// When the work is to stop here.
    fn reached(&self, stage: Stage) -> Result<(), Interrupted>;
}

/// Nothing stops: what every program uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uninterrupted;

impl Stages for Uninterrupted {
    fn reached(&self, _: Stage) -> Result<(), Interrupted> {
        Ok(())
    }
}

/// What stops the program `countersign-agent`: nothing.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn of_program() -> Arc<dyn Stages> {
    Arc::new(Uninterrupted)
}

/// What stops the program `countersign-agent`, built to be killed: the stage that `COUNTERSIGN_AGENT_FAILPOINT` names.
#[cfg(feature = "failpoints")]
pub(crate) fn of_program() -> Arc<dyn Stages> {
    Arc::new(AbortAt(std::env::var("COUNTERSIGN_AGENT_FAILPOINT").ok().and_then(|name| name.parse().ok())))
}

/// Ends the process at a stage, as `kill -9` would.
#[cfg(feature = "failpoints")]
#[derive(Debug)]
struct AbortAt(Option<Stage>);

#[cfg(feature = "failpoints")]
impl Stages for AbortAt {
    fn reached(&self, stage: Stage) -> Result<(), Interrupted> {
        if self.0 == Some(stage) {
            std::process::abort();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_found_by_its_name() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
        }
        assert!("elsewhere".parse::<Stage>().is_err());
    }
}

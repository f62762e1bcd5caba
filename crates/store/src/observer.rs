//! What the book tells about its own work: metrics, and the points at which crash tests stop it.

use std::time::Duration;

/// A point in the life of a group of commands, or of a range of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The commands have run; nothing has reached the engine.
    BeforeApply,
    /// The engine has the group; it is not yet on the disk.
    AfterApply,
    /// The group is durable; nobody has been answered.
    AfterSync,
    /// A range of events is in the archive; the book does not know.
    AfterArchive,
    /// The book knows that the range was handed on; its rows are still there.
    AfterHandingOn,
}

/// Is told about every group, on the committer's thread: whoever is slow here slows every command. And about every range of
/// events that is handed on, by whoever does that.
pub trait Observer: Send + Sync {
    /// A group has become durable.
    fn group(&self, commands: usize, apply_and_sync: Duration) {
        let _ = (commands, apply_and_sync);
    }

    /// A group or range has reached a stage.
    fn stage(&self, stage: Stage) {
        let _ = stage;
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// How the book is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing can be written any more, if that is so.
    pub read_only: Option<String>,
    /// Groups made durable since the book was opened.
    pub groups: u64,
    /// Commands made durable since the book was opened.
    pub commands: u64,
    /// How long the newest group took to be applied and synced.
    pub last_sync: Duration,
    /// Commands waiting now.
    pub waiting: usize,
}

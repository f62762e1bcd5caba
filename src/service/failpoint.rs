//! The arrows of the corridor, at which a crash test ends the process. In a normal build nothing happens here.

use countersign_store::{Archive, Stage};

/// A moment between two steps of an issuance, or of handing old events on: wherever the process is lost, nothing
/// acknowledged is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Arrow {
    /// Policy has said yes; nothing is written.
    AfterApprove,
    /// The bytes are written and judged; the book knows nothing.
    AfterPrepare,
    /// The book's commands have run; nothing has reached the engine.
    BeforeApply,
    /// The engine has the intent; it may not be on the disk.
    AfterApply,
    /// The intent is durable; nobody has been told.
    AfterSync,
    /// The corridor knows that the intent is durable.
    AfterRecord,
    /// The certificate is signed; it may not have been kept.
    AfterSign,
    /// The answer is about to leave.
    BeforeAnswer,
    /// Old events are in the archive; the book does not know.
    AfterArchive,
    /// The book knows; their rows are still there.
    AfterHandingOn,
}

impl From<Stage> for Arrow {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::BeforeApply => Self::BeforeApply,
            Stage::AfterApply => Self::AfterApply,
            Stage::AfterSync => Self::AfterSync,
            Stage::AfterArchive => Self::AfterArchive,
            Stage::AfterHandingOn => Self::AfterHandingOn,
        }
    }
}

/// Passes an arrow.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn pass(_: Arrow) {}

/// Passes an arrow, or dies as by `kill -9` if the file that `COUNTERSIGN_FAILPOINT` names holds the arrow's name.
/// A file, so that a test can arm it after the CA has issued its own certificate and the invitation.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(arrow: Arrow) {
    use rustix::process::{Signal, getpid, kill_process};

    let armed = std::env::var_os("COUNTERSIGN_FAILPOINT").and_then(|file| std::fs::read_to_string(file).ok());
    if armed.is_some_and(|name| name.trim() == format!("{arrow:?}")) {
        // It does not fail for one's own process, and nothing comes after it.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// The archive as it is.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn archive(archive: Archive) -> Archive {
    archive
}

/// The archive, or one of so few events in a range, and left in the book, as `COUNTERSIGN_ARCHIVE` says in two numbers: a
/// crash test has not the time to write sixteen thousand.
#[cfg(feature = "failpoints")]
pub(crate) fn archive(archive: Archive) -> Archive {
    let wanted = std::env::var("COUNTERSIGN_ARCHIVE").ok();
    let numbers = wanted.as_deref().and_then(|text| text.split_once(' '));
    match numbers.map(|(range, window)| (range.parse(), window.parse())) {
        Some((Ok(range), Ok(window))) => archive.with_ranges_of(range, window),
        _ => archive,
    }
}

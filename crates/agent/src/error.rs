//! What goes wrong on a machine: kind, words, and what to do.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use countersign_api::ProblemCode;

use crate::plain::plain;
use crate::refusal;
use crate::stages::Interrupted;

/// The four ways an agent command ends without success.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// The CA, or this machine on its own judgement, said no. Trying again changes nothing.
    Refused,
    /// Something on this machine is in the way: a file, a lock, a full disk.
    Failed,
    /// The command was not understood.
    Usage,
    /// The CA could not be reached or is too busy. Trying again later is right.
    Unreachable,
}

impl ErrorKind {
    /// The exit status of a command that ends this way.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Refused | Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }

    /// One word, as it stands on stderr and in `status.json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The longest message that holds words of others, in characters.
const LONGEST: usize = 2000;

/// What to do about a CA that is away, for whoever gave the command.
const AGAIN: &str = "run the same command again later: it goes on with the key that is already on disk";

/// An error with its kind and, where one helps, a hint. Never holds a key or an invitation (invariant 8).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct AgentError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    code: Option<ProblemCode>,
    retry_after: Option<Duration>,
}

impl AgentError {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, code: None, retry_after: None }
    }

    /// What a refusal says may be a stranger's words.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, plain(&message.into(), LONGEST))
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, plain(&message.into(), LONGEST)).with_hint(AGAIN)
    }

    /// An operation on a file or directory went wrong: names the path and what to do about it.
    pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let said = Self::failed(format!("cannot {doing} {}: {error}", path.display()));
        match advice(error.kind()) {
            Some(hint) => said.with_hint(hint),
            None => said,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_code(mut self, code: Option<ProblemCode>) -> Self {
        self.code = code;
        self
    }

    pub(crate) fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Which of the four ways.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What to do about it, where an agent tries again by itself.
    pub(crate) fn hint_of_agent(&self) -> Option<&str> {
        self.hint().filter(|hint| *hint != AGAIN)
    }

    /// The code of the CA's problem document, if there was one and this program knows it.
    #[must_use]
    pub const fn code(&self) -> Option<ProblemCode> {
        self.code
    }

    /// How long the CA asked to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether only an operator can change the answer: the machine was suspended, say, or its registration removed.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.kind == ErrorKind::Refused && self.code.is_some_and(refusal::is_lasting)
    }

    /// The exit status of a command that ends with this: 1 refused or failed, 2 usage, 3 unreachable.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }
}

impl From<Interrupted> for AgentError {
    fn from(stop: Interrupted) -> Self {
        Self::failed(stop.to_string())
    }
}

/// What an operator does about an I/O error, for those with a usual cause.
const fn advice(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::PermissionDenied => {
            Some("run as the user that owns the directory, or give this user write permission on it")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("the file system is mounted read-only: mount it writable or choose another --dir")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "the disk or quota is full: free space and run the command again; the identity in use is untouched",
        ),
        io::ErrorKind::NotADirectory => {
            Some("a file stands where a directory is expected: choose another --dir")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_the_path_and_the_remedy() {
        let error = AgentError::file("write", Path::new("/d/svid.pem"), &io::ErrorKind::StorageFull.into());
        assert!(error.to_string().contains("/d/svid.pem"));
        assert!(error.hint().unwrap().contains("free space"));
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_read_only_file_system_says_so() {
        let error =
            AgentError::file("write", Path::new("/d/svid.pem"), &io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(error.hint().unwrap().contains("read-only"));
    }

    #[test]
    fn an_agent_that_tries_again_by_itself_tells_nobody_to() {
        let away = AgentError::unreachable("away");
        assert!(away.hint().unwrap().contains("run the same command again"));
        assert_eq!(away.hint_of_agent(), None);
        assert_eq!(away.with_hint("the disk is full").hint_of_agent(), Some("the disk is full"));
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let codes = [ErrorKind::Refused, ErrorKind::Failed, ErrorKind::Usage, ErrorKind::Unreachable];
        assert_eq!(codes.map(ErrorKind::exit_code), [1, 1, 2, 3]);
    }
}

//! How a command can end badly: the kind decides the exit code, the hint says what to do.

use std::{fmt, process::ExitCode};

use countersign_api::{Problem, ProblemCode};

/// What kind of bad end it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Somebody said no: the CA, a check, a rule. Exit code 1.
    Refused,
    /// It was tried and did not work. Exit code 1.
    Failed,
    /// The command, or the configuration file, was not understood. Exit code 2, as clap's own.
    Usage,
    /// Nobody answered; the same command may succeed later. Exit code 3.
    Unreachable,
}

/// The error of every command.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    kind: Kind,
    message: String,
    hint: Option<String>,
    code: Option<ProblemCode>,
}

impl CliError {
    fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), hint: None, code: None }
    }

    /// Somebody said no.
    pub(crate) fn refused(message: impl fmt::Display) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// It was tried and did not work.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The command makes no sense as given.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Nobody answered.
    pub(crate) fn unreachable(message: impl fmt::Display) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Adds where it happened.
    #[must_use]
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Adds what came before the bad end.
    #[must_use]
    pub(crate) fn after(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{} ({what})", self.message);
        self
    }

    /// Whether it is the CA's refusal with this code.
    pub(crate) fn is(&self, code: ProblemCode) -> bool {
        self.code == Some(code)
    }

    /// The kind.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do about it, if something can be said.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code the kind stands for (DESIGN §6).
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }
}

impl Kind {
    /// The exit code (DESIGN §6).
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Refused | Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
        })
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        // A server that is overwhelmed or read-only may answer differently in a while, like one that is away.
        let kind = match problem.status {
            429 | 502..=504 => Kind::Unreachable,
            500.. => Kind::Failed,
            _ => Kind::Refused,
        };
        let wait = problem.retry_after.map(|seconds| format!("try again in {seconds} s"));
        let code = ProblemCode::from_text(&problem.code);
        Self { kind, message: problem.to_string(), hint: problem.hint.or(wait), code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16) -> Problem {
        Problem {
            kind: "about:blank".into(),
            status,
            title: String::new(),
            code: "name_taken".into(),
            detail: "\"a.example\" belongs to spiffe://td/b".into(),
            hint: None,
            server_time: None,
            retry_after: Some(7),
        }
    }

    #[test]
    fn each_kind_has_the_exit_code_of_the_design() {
        let codes = [Kind::Refused, Kind::Failed, Kind::Usage, Kind::Unreachable].map(Kind::code);
        assert_eq!(codes, [1, 1, 2, 3]);
    }

    #[test]
    fn a_problem_keeps_its_detail_and_code() {
        let error = CliError::from(problem(409));
        assert_eq!(error.to_string(), "\"a.example\" belongs to spiffe://td/b (name_taken)");
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.advice(), Some("try again in 7 s"));
    }

    #[test]
    fn an_overwhelmed_server_is_worth_another_try() {
        assert_eq!(CliError::from(problem(429)).kind(), Kind::Unreachable);
        assert_eq!(CliError::from(problem(503)).kind(), Kind::Unreachable);
        assert_eq!(CliError::from(problem(500)).kind(), Kind::Failed);
    }
}

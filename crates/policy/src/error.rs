//! What can be wrong with a policy's text, and where.

use crate::permission::PermissionError;
use countersign_identity::{IdPatternError, SpiffeIdError, nearest};
use std::ops::Range;
use thiserror::Error;

/// A policy that can not be used: the file, the place, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct PolicyError {
    file: String,
    line: usize,
    column: usize,
    problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not TOML, or a value of the wrong type, or a key is missing.
    #[error("{0}")]
    Toml(String),
    /// A key that means nothing here.
    #[error("unknown key {found:?}{}, expected one of {known}", hint(.nearest))]
    UnknownKey {
        /// The key found.
        found: String,
        /// The known key it resembles most.
        nearest: Option<String>,
        /// Every key allowed here.
        known: String,
    },
    /// A format this program does not read.
    #[error("found version = {found}, expected version = 1")]
    Version {
        /// The number found.
        found: i64,
    },
    /// `[service.countersign]`.
    #[error("the service \"countersign\" belongs to the CA and is always known, remove its declaration")]
    ReservedService,
    /// Two declared permissions that one text can satisfy, so that a name in an SVID could choose between them.
    #[error("{found} overlaps {other} of the same service, give each its own first part")]
    Overlap {
        /// The later declaration.
        found: String,
        /// The earlier one.
        other: String,
    },
    /// A permission that is not well formed.
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// A permission of a service that is not declared.
    #[error("no [service.{found}] declares {permission:?}{}", hint(.nearest))]
    UnknownService {
        /// The service found.
        found: String,
        /// The permission it stands in.
        permission: String,
        /// The known service it resembles most.
        nearest: Option<String>,
    },
    /// A permission its service does not declare.
    #[error("the service does not declare {found:?}{}", hint(.nearest))]
    UnknownPermission {
        /// The permission found.
        found: String,
        /// The declared permission it resembles most.
        nearest: Option<String>,
    },
    /// A rule or service without any permission.
    #[error("found no permissions, expected one at least")]
    NoPermissions,
    /// `identities = []`.
    #[error(
        "found no identities, expected one at least; without the key, the service is the identity of its name"
    )]
    NoIdentities,
    /// A capture in a permission that the rule's `id` does not have.
    #[error("{permission:?} uses {{{capture}}}, which the id {id:?} does not capture")]
    NotCaptured {
        /// The permission found.
        permission: String,
        /// The name between the braces.
        capture: String,
        /// The rule's pattern.
        id: String,
    },
    /// An ID pattern that can not be read.
    #[error(transparent)]
    Pattern(#[from] IdPatternError),
    /// The ID of a test that can not be read.
    #[error(transparent)]
    Id(#[from] SpiffeIdError),
    /// A TOML time that is not a moment.
    #[error(
        "found the time {found}, expected date, time with seconds, and offset, such as 2027-01-01T00:00:00Z"
    )]
    Time {
        /// The time found.
        found: String,
    },
    /// A window that is empty.
    #[error("the rule ends (until) no later than it begins (from), so it would never be in force")]
    EmptyWindow,
}

impl PolicyError {
    /// The name of the file, as given to the parser.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    /// What is wrong there.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// A text that can say on which line and column a byte lies.
#[derive(Debug, Clone)]
pub(crate) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// The offset of the first byte of each line.
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file, text, starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    pub(crate) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    pub(crate) fn error(&self, span: &Range<usize>, problem: impl Into<Problem>) -> PolicyError {
        let line = self.line(span.start);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..span.start).map_or(1, |before| before.chars().count() + 1);
        PolicyError { file: self.file.to_owned(), line, column, problem: problem.into() }
    }

    /// An error of the TOML reader. serde words an unknown key as "unknown field `x`, expected one of `a`, `b`";
    /// if that wording ever changes, the message still reaches the reader, only without the nearest key.
    pub(crate) fn toml_error(&self, error: &toml::de::Error) -> PolicyError {
        let message = error.message();
        let problem = if message.starts_with("unknown field") {
            let mut quoted = message.split('`').skip(1).step_by(2);
            let found = quoted.next().unwrap_or_default();
            let known: Vec<&str> = quoted.collect();
            Problem::UnknownKey {
                found: found.to_owned(),
                nearest: nearest(found, known.iter().copied()).map(str::to_owned),
                known: known.join(", "),
            }
        } else {
            Problem::Toml(message.to_owned())
        };
        self.error(&error.span().unwrap_or(0..0), problem)
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |word| format!(" (did you mean {word:?}?)"))
}

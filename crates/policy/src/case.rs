//! The tests a policy carries about itself.

use crate::decision::Decision;
use crate::permission::Permission;
use countersign_identity::SpiffeId;
use std::fmt;

/// One `[[test]]`.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) line: usize,
    pub(crate) id: SpiffeId,
    pub(crate) may: Vec<Permission>,
    pub(crate) may_not: Vec<Permission>,
}

/// What a test expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// The identity may.
    May,
    /// The identity may not.
    MayNot,
}

/// A test of the policy that the policy does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The line the test begins on.
    pub line: usize,
    /// Whose standing was tested.
    pub id: SpiffeId,
    /// What the test expected of the permission in `decision`.
    pub expected: Expectation,
    /// What the policy says instead.
    pub decision: Decision,
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = match self.expected {
            Expectation::May => "may",
            Expectation::MayNot => "may not",
        };
        let Self { line, id, decision, .. } = self;
        write!(
            f,
            "test on line {line}: {id} {expected} {}, but the policy says: {decision}",
            decision.permission
        )
    }
}

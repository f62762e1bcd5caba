//! A decision: allowed or not, by which rule of which policy, and until when.

use crate::permission::Permission;
use crate::rule::RuleRef;
use crate::version::PolicyVersion;
use countersign_identity::Timestamp;
use std::fmt;
use std::sync::Arc;

/// The answer to one question, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the identity may.
    pub allowed: bool,
    /// What was asked.
    pub permission: Permission,
    /// The rule that decided: a grant if allowed, a deny if one took it, none if no rule gives it.
    pub rule: Option<Arc<RuleRef>>,
    /// The policy that decided.
    pub version: PolicyVersion,
    /// The first second at which the answer may differ.
    pub valid_until: Option<Timestamp>,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "refused" };
        let version = self.version.short();
        let Some(rule) = &self.rule else {
            return write!(f, "{verdict} {}: no grant of policy {version} gives it", self.permission);
        };
        write!(f, "{verdict} {}: {rule} of policy {version}", self.permission)?;
        if let Some(reason) = &rule.reason {
            write!(f, ", {reason}")?;
        }
        if let Some(owner) = &rule.owner {
            write!(f, ", owner {owner}")?;
        }
        Ok(())
    }
}

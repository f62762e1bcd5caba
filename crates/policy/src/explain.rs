//! Why an identity may do what it may.

use crate::permission::Permission;
use crate::policy::Policy;
use crate::rule::{RuleKind, RuleRef};
use crate::version::PolicyVersion;
use crate::window::Force;
use countersign_identity::{SpiffeId, Timestamp};
use std::fmt;
use std::sync::Arc;

/// Every rule about one identity, and what comes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whose standing this is.
    pub id: SpiffeId,
    /// The policy that was asked.
    pub version: PolicyVersion,
    /// The rules about the identity, in force or not: grants, then denies, as written.
    pub rules: Vec<ExplainedRule>,
    /// What the identity may do.
    pub may: Vec<Permission>,
    /// The first second at which that may differ.
    pub valid_until: Option<Timestamp>,
}

/// One rule, applied to the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRule {
    /// The rule.
    pub rule: Arc<RuleRef>,
    /// Whether it counts now.
    pub force: Force,
    /// What it gives or takes, with captures filled in.
    pub permissions: Vec<Permission>,
}

/// Every rule of `policy` about `id`, and what comes of them at `now`.
#[must_use]
pub fn explain(policy: &Policy, id: &SpiffeId, now: Timestamp) -> Explanation {
    let standing = policy.resolve(id, now);
    let rules = policy.matching(id).map(|rule| {
        let mut permissions = Vec::new();
        rule.for_each_permission(id, |_| true, |permission| permissions.push(permission));
        let force = rule.reference.window.force(now);
        ExplainedRule { rule: Arc::clone(&rule.reference), force, permissions }
    });
    Explanation {
        id: id.clone(),
        version: standing.version(),
        rules: rules.collect(),
        may: standing.permissions().cloned().collect(),
        valid_until: standing.valid_until(),
    }
}

fn list(permissions: &[Permission]) -> String {
    permissions.iter().map(Permission::as_str).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ExplainedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.rule.kind {
            RuleKind::Grant => "gives",
            RuleKind::Deny => "takes",
        };
        write!(f, "{} for {} {verb} {}", self.rule, self.rule.id, list(&self.permissions))?;
        match self.force {
            Force::NotYet(from) => write!(f, "; not in force before {from}")?,
            Force::Over(until) => write!(f, "; no longer in force, it ended at {until}")?,
            Force::InForce => {
                if let Some(until) = self.rule.window.until {
                    write!(f, " until {until}")?;
                }
            }
        }
        if let Some(reason) = &self.rule.reason {
            write!(f, "; {reason}")?;
        }
        self.rule.owner.as_ref().map_or(Ok(()), |owner| write!(f, "; owner {owner}"))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} under policy {}", self.id, self.version.short())?;
        if self.rules.is_empty() {
            writeln!(f, "  no rule is about this identity")?;
        }
        for rule in &self.rules {
            writeln!(f, "  {rule}")?;
        }
        if self.may.is_empty() {
            write!(f, "may do nothing")?;
        } else {
            write!(f, "may {}", list(&self.may))?;
        }
        self.valid_until.map_or(Ok(()), |until| write!(f, ", until {until} at the least"))
    }
}

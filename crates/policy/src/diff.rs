//! What changes from one policy to the next.

use crate::policy::Policy;
use crate::rule::RuleKind;
use crate::window::Window;
use countersign_identity::IdPattern;
use std::collections::BTreeSet;
use std::fmt;

/// One permission of one rule that only one of two policies has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Whom it is about.
    pub id: IdPattern,
    /// The permission as the rule writes it, captures included.
    pub permission: String,
    /// Grant or deny.
    pub kind: RuleKind,
    /// When it is in force.
    pub window: Window,
    /// Whether the new policy has it (and the old has not), or the reverse.
    pub added: bool,
}

/// The permissions of rules that `old` and `new` do not share, by ID pattern. Order, owners and reasons of rules make
/// no difference.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> Vec<Change> {
    let (before, after) = (lines(old), lines(new));
    let added = after.difference(&before).cloned().map(|change| Change { added: true, ..change });
    let mut changes: Vec<Change> = before.difference(&after).cloned().chain(added).collect();
    changes.sort();
    changes
}

fn lines(policy: &Policy) -> BTreeSet<Change> {
    let rules =
        policy.rules().iter().flat_map(|rule| rule.gives.iter().map(|given| (&rule.reference, given)));
    rules
        .map(|(rule, given)| Change {
            id: rule.id.clone(),
            permission: given.to_string(),
            kind: rule.kind,
            window: rule.window,
            added: false,
        })
        .collect()
}

impl Change {
    /// The service the permission belongs to.
    #[must_use]
    pub fn service(&self) -> &str {
        self.permission.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.added { '+' } else { '-' };
        write!(f, "{sign} {} {} {}", self.kind, self.id, self.permission)?;
        if self.window == Window::default() { Ok(()) } else { write!(f, " {}", self.window) }
    }
}

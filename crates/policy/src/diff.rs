//! What changes from one policy to the next.

use crate::policy::Policy;
use crate::rule::RuleKind;
use crate::window::Window;
use countersign_identity::IdPattern;
use std::collections::{BTreeMap, BTreeSet};
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

/// A service that other identities run under the new policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceChange {
    /// The service.
    pub service: String,
    /// Who it was, in words; none where the old policy does not declare it.
    pub before: Option<String>,
    /// Who it is, in words; none where the new policy does not declare it.
    pub after: Option<String>,
}

/// The services that change hands: whoever a service is may report its decisions and ask about what was handed to it.
#[must_use]
pub fn service_changes(old: &Policy, new: &Policy) -> Vec<ServiceChange> {
    let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (old.runners().collect(), new.runners().collect());
    let services: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let changes = services.into_iter().filter(|service| before.get(service) != after.get(service));
    let of = |of: &BTreeMap<&str, String>, service| of.get(service).cloned();
    changes
        .map(|service| ServiceChange {
            service: service.to_owned(),
            before: of(&before, service),
            after: of(&after, service),
        })
        .collect()
}

impl fmt::Display for ServiceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |who: &Option<String>| who.clone().unwrap_or_else(|| "not declared".to_owned());
        write!(f, "~ service {} is {}; it was {}", self.service, word(&self.after), word(&self.before))
    }
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

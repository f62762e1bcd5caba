//! Who holds a permission.

use crate::permission::Permission;
use crate::policy::Policy;
use crate::rule::{Rule, RuleKind, RuleRef};
use countersign_identity::{IdPattern, PatternSegment};
use std::fmt;
use std::sync::Arc;

/// A set of identities that a grant gives the permission to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The identities, narrowed to those whose captures yield the permission.
    pub id: IdPattern,
    /// The grant.
    pub grant: Arc<RuleRef>,
    /// Denies that take the permission from some of these identities, or all.
    pub except: Vec<Arc<RuleRef>>,
}

/// The identities that hold `permission` by some grant, with the denies that narrow them. Windows are not judged:
/// each rule carries its own.
#[must_use]
pub fn who_can(policy: &Policy, permission: &Permission) -> Vec<Holder> {
    let about = |kind| {
        let rules = policy.rules().iter().filter(move |rule| rule.reference.kind == kind);
        rules.flat_map(|rule| narrowed(rule, permission).into_iter().map(move |id| (rule, id)))
    };
    let denies: Vec<(&Rule, IdPattern)> = about(RuleKind::Deny).collect();
    let holders = about(RuleKind::Grant).map(|(rule, id)| {
        let meeting = denies.iter().filter(|(_, denied)| overlap(&id, denied));
        let except = meeting.map(|(deny, _)| Arc::clone(&deny.reference)).collect();
        Holder { id, grant: Arc::clone(&rule.reference), except }
    });
    holders.collect()
}

/// The rule's pattern with each capture replaced by what it must hold to yield `permission`; one for each permission
/// of the rule that can.
fn narrowed(rule: &Rule, permission: &Permission) -> Vec<IdPattern> {
    let solutions = rule.gives.iter().filter_map(|given| given.solve(permission));
    let mut patterns: Vec<IdPattern> =
        solutions.filter_map(|bound| bind(&rule.reference.id, &bound)).collect();
    patterns.dedup();
    patterns
}

/// `None` if a value can not be a path segment: then no identity captures it.
fn bind(pattern: &IdPattern, bound: &[(&str, &str)]) -> Option<IdPattern> {
    let mut text = pattern.trust_domain().id();
    for segment in pattern.pattern_segments() {
        let value = match segment {
            PatternSegment::Capture(name) => bound.iter().find(|(known, _)| *known == &**name),
            _ => None,
        };
        text.push('/');
        match value {
            Some((_, value)) => text.push_str(value),
            None => text.push_str(&segment.to_string()),
        }
    }
    text.parse().ok()
}

/// Whether some identity is in both.
fn overlap(one: &IdPattern, other: &IdPattern) -> bool {
    fn meet(one: &[PatternSegment], other: &[PatternSegment]) -> bool {
        match (one, other) {
            ([], []) => true,
            ([], _) | (_, []) => false,
            ([PatternSegment::Rest], _) | (_, [PatternSegment::Rest]) => true,
            ([PatternSegment::Exact(a), ..], [PatternSegment::Exact(b), ..]) if a != b => false,
            ([_, one @ ..], [_, other @ ..]) => meet(one, other),
        }
    }
    one.trust_domain() == other.trust_domain() && meet(one.pattern_segments(), other.pattern_segments())
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.id, self.grant)?;
        if self.grant.window != crate::Window::default() {
            write!(f, ", {}", self.grant.window)?;
        }
        for deny in &self.except {
            write!(f, ", except {} by {deny}", deny.id)?;
        }
        Ok(())
    }
}

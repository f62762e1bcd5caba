//! Rules: which identities are given or denied which permissions, and when.

use crate::permission::Permission;
use crate::template::Template;
use crate::window::Window;
use countersign_identity::{IdPattern, SpiffeId};
use std::fmt;
use std::sync::Arc;

/// What a rule does with its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleKind {
    /// Gives them.
    Grant,
    /// Takes them, whatever grants say.
    Deny,
}

/// A rule, as decisions and explanations point to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRef {
    /// Grant or deny.
    pub kind: RuleKind,
    /// Its place among the rules of its kind, from 1.
    pub index: usize,
    /// The line of the policy's text it begins on.
    pub line: usize,
    /// Whom it is about.
    pub id: IdPattern,
    /// When it is in force.
    pub window: Window,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it exists.
    pub reason: Option<String>,
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) reference: Arc<RuleRef>,
    pub(crate) gives: Box<[Given]>,
}

/// One permission of a rule.
#[derive(Debug, Clone)]
pub(crate) enum Given {
    /// The same for every identity.
    Fixed(Permission),
    /// Depends on what the rule's ID pattern captures.
    Captured(Template),
}

impl Rule {
    /// The permissions this rule is about for `id`, which its pattern must match.
    /// Those that `counts` does not let through are passed over.
    pub(crate) fn for_each_permission(
        &self,
        id: &SpiffeId,
        counts: impl Fn(&Given) -> bool,
        mut visit: impl FnMut(Permission),
    ) {
        let mut captures = None;
        for given in self.gives.iter().filter(|given| counts(given)) {
            match given {
                Given::Fixed(permission) => visit(permission.clone()),
                Given::Captured(template) => {
                    let captures =
                        captures.get_or_insert_with(|| self.reference.id.matches(id).unwrap_or_default());
                    if let Some(permission) = template.fill(|name| captures.get(name)) {
                        visit(permission);
                    }
                }
            }
        }
    }
}

impl Given {
    pub(crate) fn new(template: Template) -> Self {
        match template.fill(|_| None) {
            Some(permission) => Self::Fixed(permission),
            None => Self::Captured(template),
        }
    }

    pub(crate) fn service(&self) -> &str {
        match self {
            Self::Fixed(permission) => permission.service(),
            Self::Captured(template) => template.service(),
        }
    }

    /// What each capture must hold for `permission` to come out; `None` if it never does.
    pub(crate) fn solve<'p>(&self, permission: &'p Permission) -> Option<Vec<(&str, &'p str)>> {
        match self {
            Self::Fixed(fixed) => (fixed == permission).then(Vec::new),
            Self::Captured(template) => template.solve(permission),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(permission) => permission.fmt(f),
            Self::Captured(template) => template.fmt(f),
        }
    }
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Grant => "grant",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (line {})", self.kind, self.index, self.line)
    }
}

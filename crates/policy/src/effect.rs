//! What a change of policy comes to: identities that gain or lose a permission, each shown by one that does.

use std::collections::BTreeSet;

use countersign_identity::{IdPattern, PatternSegment, SpiffeId, Timestamp};

use crate::diff::{Change, diff};
use crate::permission::Permission;
use crate::policy::Policy;
use crate::template::Template;

/// Identities of a rule that changed gain a permission, or lose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The change of rules that it comes from.
    pub change: Change,
    /// Whether the permission is gained; else it is lost.
    pub gained: bool,
    /// An identity for which it is so: the only one, where the rule names one; else one that was made up, with segments
    /// that no rule writes.
    pub witness: SpiffeId,
    /// The permission as that identity has it.
    pub permission: Permission,
    /// When it is so.
    pub at: Timestamp,
}

/// For each change of rules the identities that gain or lose by it, at `now` or when the rule begins. A change without an
/// effect changes nothing for anybody that was tried: other rules say the same.
///
/// Tried are, for each rule that changed, an identity of its own and one of its overlap with each other rule of either
/// policy. Three rules that only together make a difference are not found out.
#[must_use]
pub fn effects(old: &Policy, new: &Policy, now: Timestamp) -> Vec<Effect> {
    let patterns: BTreeSet<&IdPattern> =
        [old, new].into_iter().flat_map(|policy| policy.rules()).map(|rule| &rule.reference.id).collect();
    let fresh = unwritten(&patterns);
    let longest = patterns.iter().map(|pattern| pattern.pattern_segments().len()).max().unwrap_or_default();
    let made_up = MadeUp { fresh: &fresh, depths: [1, longest + 1] };
    let changes = diff(old, new);
    changes.into_iter().flat_map(|change| of_change(old, new, change, &patterns, &made_up, now)).collect()
}

/// How identities are made up.
struct MadeUp<'a> {
    /// A segment that no pattern writes out.
    fresh: &'a str,
    /// How many segments stand for `**`: one, and more than any pattern has.
    depths: [usize; 2],
}

fn of_change(
    old: &Policy,
    new: &Policy,
    change: Change,
    patterns: &BTreeSet<&IdPattern>,
    made_up: &MadeUp<'_>,
    now: Timestamp,
) -> Vec<Effect> {
    let Ok(template) = change.permission.parse::<Template>() else { return Vec::new() };
    let begins = change.window.from.filter(|from| *from > now);
    let mut found: Vec<Effect> = Vec::new();
    let with_itself = std::iter::once(&change.id);
    let others = with_itself.chain(patterns.iter().copied());
    let both =
        others.flat_map(|other| made_up.depths.map(|depth| common(&change.id, other, made_up.fresh, depth)));
    for id in both.flatten() {
        let captures = change.id.matches(&id).unwrap_or_default();
        let Some(permission) = template.fill(|name| captures.get(name)) else { continue };
        for at in std::iter::once(now).chain(begins) {
            let before = old.decide(&id, &permission, at).allowed;
            let after = new.decide(&id, &permission, at).allowed;
            if before != after && !found.iter().any(|known| known.gained == after) {
                let (witness, permission) = (id.clone(), permission.clone());
                found.push(Effect { change: change.clone(), gained: after, witness, permission, at });
            }
        }
        if found.len() == 2 {
            break;
        }
    }
    found
}

/// A segment that no pattern writes out.
fn unwritten(patterns: &BTreeSet<&IdPattern>) -> String {
    let written: BTreeSet<&str> = patterns
        .iter()
        .flat_map(|pattern| pattern.pattern_segments())
        .filter_map(|segment| match segment {
            PatternSegment::Exact(literal) => Some(&**literal),
            _ => None,
        })
        .collect();
    let mut numbers = (0_u64..).map(|n| if n == 0 { "any".to_owned() } else { format!("any-{n}") });
    // The written ones are finite, so some number is free.
    numbers.find(|name| !written.contains(name.as_str())).unwrap_or_default()
}

/// An identity that is in both patterns, with `fresh` where neither writes a segment out, and `depth` of them where both
/// end in `**`.
fn common(one: &IdPattern, other: &IdPattern, fresh: &str, depth: usize) -> Option<SpiffeId> {
    if one.trust_domain() != other.trust_domain() {
        return None;
    }
    let mut text = one.trust_domain().id();
    let (mut left, mut right) = (one.pattern_segments(), other.pattern_segments());
    loop {
        let (a, b) = match (left, right) {
            ([], []) => return text.parse().ok(),
            ([PatternSegment::Rest], [PatternSegment::Rest]) => {
                text.push_str(&format!("/{fresh}").repeat(depth));
                return text.parse().ok();
            }
            ([a, ..], [b, ..]) => (a, b),
            _ => return None,
        };
        text.push('/');
        text.push_str(segment_of_both(a, b, fresh)?);
        (left, right) = after(left, right);
    }
}

/// A segment that both allow.
fn segment_of_both<'a>(a: &'a PatternSegment, b: &'a PatternSegment, fresh: &'a str) -> Option<&'a str> {
    match (a, b) {
        (PatternSegment::Exact(a), PatternSegment::Exact(b)) => (a == b).then_some(&**a),
        (PatternSegment::Exact(literal), _) | (_, PatternSegment::Exact(literal)) => Some(literal),
        _ => Some(fresh),
    }
}

/// What is left of both. `**` stays as long as the other goes on, and ends with it.
fn after<'a>(
    left: &'a [PatternSegment],
    right: &'a [PatternSegment],
) -> (&'a [PatternSegment], &'a [PatternSegment]) {
    let (rest_left, rest_right) = (left.get(1..).unwrap_or_default(), right.get(1..).unwrap_or_default());
    match (left, right) {
        ([PatternSegment::Rest], _) if !rest_right.is_empty() => (left, rest_right),
        (_, [PatternSegment::Rest]) if !rest_left.is_empty() => (rest_left, right),
        _ => (rest_left, rest_right),
    }
}

//! The index over ID patterns: which rules match an identity, without trying each.

use countersign_identity::{IdPattern, PatternSegment, SpiffeId};
use std::collections::BTreeMap;

/// A tree over trust domain and path segments. The trust domain is the first step, always literal.
///
/// An identity visits each node at most once, and only nodes its own segments lead to, so the cost follows the depth
/// of the path and not the number of rules.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    domains: BTreeMap<Box<str>, Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    exact: BTreeMap<Box<str>, Node>,
    /// `*` and `{name}` alike.
    any: Option<Box<Node>>,
    /// Rules whose pattern ends here.
    ends: Vec<usize>,
    /// Rules whose pattern ends here with `**`.
    rest: Vec<usize>,
}

impl Trie {
    pub(crate) fn insert(&mut self, pattern: &IdPattern, rule: usize) {
        let mut node = self.domains.entry(pattern.trust_domain().as_str().into()).or_default();
        for segment in pattern.pattern_segments() {
            node = match segment {
                PatternSegment::Exact(literal) => node.exact.entry(literal.clone()).or_default(),
                PatternSegment::Capture(_) | PatternSegment::Any => node.any.get_or_insert_default(),
                PatternSegment::Rest => return node.rest.push(rule),
            };
        }
        node.ends.push(rule);
    }

    /// The rules whose pattern matches `id`, in ascending order.
    pub(crate) fn matching(&self, id: &SpiffeId) -> Vec<usize> {
        let mut found = Vec::with_capacity(16);
        if let Some(node) = self.domains.get(id.trust_domain_str()) {
            node.collect(id.segments(), &mut found);
        }
        found.sort_unstable();
        found
    }
}

impl Node {
    fn collect<'a>(&self, mut segments: impl Iterator<Item = &'a str> + Clone, found: &mut Vec<usize>) {
        let Some(segment) = segments.next() else {
            found.extend_from_slice(&self.ends);
            return;
        };
        found.extend_from_slice(&self.rest);
        if let Some(node) = self.exact.get(segment) {
            node.collect(segments.clone(), found);
        }
        if let Some(node) = &self.any {
            node.collect(segments, found);
        }
    }
}

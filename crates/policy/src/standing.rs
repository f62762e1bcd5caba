//! What one identity may do, resolved once and then looked up.

use crate::decision::Decision;
use crate::permission::Permission;
use crate::rule::{RuleKind, RuleRef};
use crate::version::PolicyVersion;
use countersign_identity::Timestamp;
use std::sync::Arc;

/// Every permission the rules in force say something about for one identity, with deny already applied.
///
/// It holds from the moment it was resolved until [`valid_until`](Self::valid_until); whoever keeps it across requests
/// asks [`holds_at`](Self::holds_at) and resolves again when the answer is no.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Each permission once, ascending by hash.
    entries: Vec<Entry>,
    /// The hashes of `entries`, side by side so that a lookup reads one cache line or two.
    hashes: Vec<u64>,
    version: PolicyVersion,
    valid_until: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) permission: Permission,
    pub(crate) rule: Arc<RuleRef>,
}

impl Entry {
    fn allows(&self) -> bool {
        self.rule.kind == RuleKind::Grant
    }
}

impl Standing {
    /// The standing of an identity no rule knows: it may do nothing.
    #[must_use]
    pub fn empty(version: PolicyVersion) -> Self {
        Self::new(Vec::new(), version, None)
    }

    /// From entries in order of the rules, so that the first rule of each kind is the one named.
    pub(crate) fn new(
        mut entries: Vec<Entry>,
        version: PolicyVersion,
        valid_until: Option<Timestamp>,
    ) -> Self {
        entries.sort_by(|one, other| {
            let by_hash = one.permission.precomputed_hash().cmp(&other.permission.precomputed_hash());
            let by_text = by_hash.then_with(|| one.permission.cmp(&other.permission));
            // Deny before grant, so that it is the one kept below: deny wins.
            by_text.then_with(|| other.rule.kind.cmp(&one.rule.kind))
        });
        entries.dedup_by(|later, first| later.permission == first.permission);
        let hashes = entries.iter().map(|entry| entry.permission.precomputed_hash()).collect();
        Self { entries, hashes, version, valid_until }
    }

    /// Whether the identity may. Nothing said is no.
    #[must_use]
    #[inline]
    pub fn check(&self, permission: &Permission) -> bool {
        self.entry(permission).is_some_and(Entry::allows)
    }

    /// The same answer as [`check`](Self::check), with the rule and the policy it rests on.
    #[must_use]
    pub fn decision(&self, permission: &Permission) -> Decision {
        let entry = self.entry(permission);
        Decision {
            allowed: entry.is_some_and(Entry::allows),
            permission: permission.clone(),
            rule: entry.map(|entry| Arc::clone(&entry.rule)),
            version: self.version,
            valid_until: self.valid_until,
        }
    }

    /// What the identity may do, in order of the text.
    pub fn permissions(&self) -> impl Iterator<Item = &Permission> {
        let mut allowed: Vec<_> = self.entries.iter().filter(|entry| entry.allows()).collect();
        allowed.sort_by(|one, other| one.permission.cmp(&other.permission));
        allowed.into_iter().map(|entry| &entry.permission)
    }

    /// The first second at which a rule about this identity begins or ends, so that the answers may differ.
    /// `None` if they hold as long as the policy does.
    #[must_use]
    pub const fn valid_until(&self) -> Option<Timestamp> {
        self.valid_until
    }

    /// Whether the answers still hold at `now`.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.valid_until.is_none_or(|edge| now < edge)
    }

    /// The policy the answers come from.
    #[must_use]
    pub const fn version(&self) -> PolicyVersion {
        self.version
    }

    fn entry(&self, permission: &Permission) -> Option<&Entry> {
        let hash = permission.precomputed_hash();
        let first = self.hashes.partition_point(|known| *known < hash);
        let same_hash = self.entries.get(first..)?.iter();
        let mut same_hash = same_hash.take_while(|entry| entry.permission.precomputed_hash() == hash);
        same_hash.find(|entry| entry.permission == *permission)
    }
}

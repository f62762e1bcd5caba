//! The compiled policy, and the questions it answers.

use crate::case::{Case, Expectation, TestFailure};
use crate::catalog::{Catalog, RESERVED_SERVICE};
use crate::compile::{Compiled, compile};
use crate::decision::Decision;
use crate::error::PolicyError;
use crate::permission::Permission;
use crate::rule::{Given, Rule, RuleKind};
use crate::service::Services;
use crate::standing::{Entry, Standing};
use crate::trie::Trie;
use crate::version::PolicyVersion;
use crate::window::Force;
use countersign_identity::{SpiffeId, Timestamp, TrustDomain};
use std::sync::Arc;

/// A policy, read, judged and indexed. It never changes; a new text is a new policy.
#[derive(Debug, Clone)]
pub struct Policy {
    text: Arc<str>,
    version: PolicyVersion,
    catalog: Catalog,
    services: Services,
    rules: Vec<Rule>,
    index: Trie,
    cases: Vec<Case>,
}

impl Policy {
    /// Reads a policy. `file` is the name errors carry.
    ///
    /// # Errors
    /// When anything in the text is wrong; the error says where, what was found and what was expected.
    pub fn parse(text: &str, file: &str) -> Result<Self, PolicyError> {
        let Compiled { catalog, services, rules, cases } = compile(text, file)?;
        let mut index = Trie::default();
        for (at, rule) in rules.iter().enumerate() {
            index.insert(&rule.reference.id, at);
        }
        let version = PolicyVersion::of(text);
        Ok(Self { text: text.into(), version, catalog, services, rules, index, cases })
    }

    /// The digest of the text.
    #[must_use]
    pub const fn version(&self) -> &PolicyVersion {
        &self.version
    }

    /// The text, byte for byte.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What `id` may do at `now`. Once per connection; each request then asks the [`Standing`].
    #[must_use]
    pub fn resolve(&self, id: &SpiffeId, now: Timestamp) -> Standing {
        self.resolve_by(id, now, |_| true)
    }

    /// What `id` may do at `service` at `now`, and until when that stands: rules about other services bear on neither.
    #[must_use]
    pub fn permissions_at(&self, id: &SpiffeId, service: &str, now: Timestamp) -> Standing {
        self.resolve_by(id, now, |given| given.service() == service)
    }

    /// What the permissions that `counts` lets through come to.
    fn resolve_by(&self, id: &SpiffeId, now: Timestamp, counts: impl Fn(&Given) -> bool) -> Standing {
        let mut entries = Vec::with_capacity(16);
        let mut valid_until: Option<Timestamp> = None;
        for rule in self.matching(id).filter(|rule| rule.gives.iter().any(&counts)) {
            let window = &rule.reference.window;
            if let Some(edge) = window.next_edge(now) {
                valid_until = Some(valid_until.map_or(edge, |earlier| earlier.min(edge)));
            }
            if window.force(now) == Force::InForce {
                rule.for_each_permission(id, &counts, |permission| {
                    entries.push(Entry { permission, rule: Arc::clone(&rule.reference) });
                });
            }
        }
        Standing::new(entries, self.version, valid_until)
    }

    /// Whether `id` may at `now`, and why.
    #[must_use]
    pub fn decide(&self, id: &SpiffeId, permission: &Permission, now: Timestamp) -> Decision {
        self.resolve(id, now).decision(permission)
    }

    /// The policy's own tests that fail at `now`; none is good.
    #[must_use]
    pub fn run_tests(&self, now: Timestamp) -> Vec<TestFailure> {
        let mut failures = Vec::new();
        for Case { line, id, may, may_not } in &self.cases {
            let standing = self.resolve(id, now);
            let expectations = [(Expectation::May, may), (Expectation::MayNot, may_not)];
            for (expected, permission) in expectations.iter().flat_map(|(e, ps)| ps.iter().map(|p| (*e, p))) {
                let decision = standing.decision(permission);
                if decision.allowed != (expected == Expectation::May) {
                    failures.push(TestFailure { line: *line, id: id.clone(), expected, decision });
                }
            }
        }
        failures
    }

    /// How many `[[test]]` cases the policy carries.
    #[must_use]
    pub fn test_count(&self) -> usize {
        self.cases.len()
    }

    /// Each service known, the CA's own included, with its permissions as declared (`ledger:tenant:{tenant}`).
    pub fn services(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = String>)> {
        self.catalog.services()
    }

    /// Whether some service declares `permission`. A service asks it of every permission it will check, at its start:
    /// one that no policy can give is a spelling mistake.
    #[must_use]
    pub fn knows(&self, permission: &Permission) -> bool {
        self.catalog.knows(permission)
    }

    /// Whether `id` is `service` itself: whoever may speak for it, to report its decisions or to ask about what was
    /// handed to it. `home` is the CA's trust domain.
    ///
    /// The policy says so with `identities`, a list of ID patterns; without that key the service `ledger` is
    /// `spiffe://HOME/ledger` and nobody else. A service the policy does not declare is nobody, and so is the CA's own,
    /// for which only the CA speaks.
    #[must_use]
    pub fn serves(&self, id: &SpiffeId, service: &str, home: &TrustDomain) -> bool {
        self.services.serves(id, service, home)
    }

    /// Each service with who it is, in words.
    pub(crate) fn runners(&self) -> impl Iterator<Item = (&str, String)> {
        self.services.in_words()
    }

    /// Whether any grant, in force or not, denied or not, gives `id` a permission on the CA itself. Such identities
    /// are managed through the unix socket only, so the answer errs on the side of yes.
    #[must_use]
    pub fn is_privileged(&self, id: &SpiffeId) -> bool {
        self.matching(id).any(|rule| {
            let on_the_ca = rule.gives.iter().any(|given| given.service() == RESERVED_SERVICE);
            rule.reference.kind == RuleKind::Grant && on_the_ca
        })
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules about `id`: grants, then denies, each in the order written.
    pub(crate) fn matching(&self, id: &SpiffeId) -> impl Iterator<Item = &Rule> {
        self.index.matching(id).into_iter().filter_map(|at| self.rules.get(at))
    }
}

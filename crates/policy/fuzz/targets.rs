//! What must hold of any text that is read as a permission policy.

use countersign_identity::{SpiffeId, Timestamp};
use countersign_policy::{
    Force, Permission, Policy, RESERVED_SERVICE, RuleKind, diff, effects, explain, who_can,
};

const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);

/// Every way to ask a policy gives one answer, and what no grant gives nobody has.
pub fn policy(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    let policy = match Policy::parse(text, "policy.toml") {
        Ok(policy) => policy,
        Err(error) => {
            assert!(error.line() >= 1 && error.column() >= 1);
            assert!(error.to_string().starts_with("policy.toml:"));
            return;
        }
    };
    assert_eq!(policy.text(), text);
    assert!(diff(&policy, &policy).is_empty(), "a policy does not differ from itself");
    let _ = policy.run_tests(NOON);
    if let Ok(nothing) = Policy::parse("version = 1\n", "nothing") {
        for effect in effects(&nothing, &policy, NOON) {
            assert!(effect.gained, "without rules nobody has anything to lose");
            assert!(policy.decide(&effect.witness, &effect.permission, effect.at).allowed);
        }
    }
    for id in ids(text) {
        resolved(&policy, &id);
    }
}

/// The identities to ask about: those the text names, wildcards made concrete, and one it cannot name.
fn ids(text: &str) -> Vec<SpiffeId> {
    let words = text.split(|c: char| c.is_whitespace() || "\"',[]".contains(c));
    let named = words.filter(|word| word.starts_with("spiffe://")).take(32);
    let concrete = named.map(|word| word.replace("**", "deep/path").replace(['*', '{', '}'], "x"));
    concrete.chain(["spiffe://elsewhere/x".to_owned()]).filter_map(|id| id.parse().ok()).collect()
}

fn resolved(policy: &Policy, id: &SpiffeId) {
    let standing = policy.resolve(id, NOON);
    let explained = explain(policy, id, NOON);
    let may: Vec<Permission> = standing.permissions().cloned().collect();
    assert_eq!(explained.may, may);
    let rules = |kind| explained.rules.iter().filter(move |one| one.rule.kind == kind);
    for permission in &may {
        assert!(standing.check(permission) && standing.decision(permission).allowed);
        assert!(policy.decide(id, permission, NOON).allowed);
        assert!(policy.knows(permission), "{permission} is declared by its service");
        assert!(rules(RuleKind::Grant).any(|one| one.permissions.contains(permission)), "a grant gave it");
        let holders = who_can(policy, permission);
        assert!(holders.iter().any(|holder| holder.id.matches(id).is_some()), "{id} holds {permission}");
    }
    for denied in rules(RuleKind::Deny).filter(|one| one.force == Force::InForce) {
        assert!(denied.permissions.iter().all(|permission| !standing.check(permission)), "deny wins");
    }
    let mut of_services: Vec<Permission> = policy
        .services()
        .flat_map(|(service, _)| {
            let slice = policy.permissions_at(id, service, NOON);
            slice.permissions().cloned().collect::<Vec<_>>()
        })
        .collect();
    of_services.sort();
    assert_eq!(of_services, may, "service by service it is the same");
    let home = id.trust_domain();
    assert!(!policy.serves(id, RESERVED_SERVICE, &home), "nobody is the CA");
    assert!(standing.holds_at(NOON));
    assert!(standing.valid_until().is_none_or(|until| until > NOON && !standing.holds_at(until)));
}

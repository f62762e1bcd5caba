//! Who gains and who loses when a policy takes the place of another.

use countersign_identity::Timestamp;
use countersign_policy::{Effect, Policy, effects};
use proptest::prelude::*;

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().expect("a time")
}

fn policy(rules: &str) -> Policy {
    let head = "version = 1\n[service.ledger]\npermissions = [\"read\", \"write\", \"tenant:{tenant}\"]\n";
    Policy::parse(&format!("{head}{rules}"), "p").expect("a policy")
}

fn rule(kind: &str, id: &str, permission: &str) -> String {
    format!("[[{kind}]]\nid = \"spiffe://td/{id}\"\npermissions = [\"ledger:{permission}\"]\n")
}

fn told(old: &str, new: &str) -> Vec<(bool, String, String)> {
    let told = |effect: Effect| (effect.gained, effect.witness.to_string(), effect.permission.to_string());
    effects(&policy(old), &policy(new), now()).into_iter().map(told).collect()
}

fn one(gained: bool, id: &str, permission: &str) -> Vec<(bool, String, String)> {
    vec![(gained, format!("spiffe://td/{id}"), format!("ledger:{permission}"))]
}

#[test]
fn a_grant_that_comes_or_goes_is_shown_by_an_identity() {
    let grant = rule("grant", "a", "read");
    assert_eq!(told("", &grant), one(true, "a", "read"));
    assert_eq!(told(&grant, ""), one(false, "a", "read"));
    assert_eq!(
        told(&rule("grant", "a/{tenant}/**", "tenant:{tenant}"), ""),
        one(false, "a/any/any", "tenant:any")
    );
}

#[test]
fn what_other_rules_say_as_well_has_no_effect() {
    let (wide, narrow) = (rule("grant", "a/**", "read"), rule("grant", "a/b", "read"));
    assert_eq!(told(&wide, &format!("{wide}{narrow}")), []);
    let denied = rule("deny", "a/**", "read");
    assert_eq!(told(&denied, &format!("{denied}{narrow}")), [], "what is denied anyway is not gained");
}

#[test]
fn a_deny_is_felt_where_a_grant_meets_it() {
    let grant = rule("grant", "*/api", "read");
    let with_deny = format!("{grant}{}", rule("deny", "sandbox/**", "read"));
    assert_eq!(told(&grant, &with_deny), one(false, "sandbox/api", "read"));
    assert_eq!(told("", &rule("deny", "sandbox/**", "read")), []);
}

#[test]
fn a_rule_that_begins_later_has_its_effect_then() {
    let later = rule("grant", "a", "read") + "from = 2027-01-01T00:00:00Z\n";
    let found = effects(&policy(""), &policy(&later), now());
    assert_eq!((found.len(), found[0].at.to_string().as_str()), (1, "2027-01-01T00:00:00Z"));
}

#[test]
fn a_made_up_identity_is_met_by_no_other_rule() {
    let old = rule("grant", "any", "write");
    assert_eq!(told(&old, &format!("{old}{}", rule("grant", "*", "write"))), one(true, "any-1", "write"));
}

proptest! {
    /// What is told is true, and what changes for one of a few identities is told by some effect.
    #[test]
    fn every_witness_gains_or_loses_and_no_change_of_two_rules_is_missed(
        old in proptest::collection::vec((any::<bool>(), 0_usize..5), 0..3),
        new in proptest::collection::vec((any::<bool>(), 0_usize..5), 0..3),
    ) {
        const IDS: [&str; 5] = ["a", "a/b", "a/*", "*/b", "a/**"];
        let text = |rules: &[(bool, usize)]| -> String {
            rules.iter().map(|(deny, id)| rule(if *deny { "deny" } else { "grant" }, IDS[*id], "read")).collect()
        };
        let (old, new) = (policy(&text(&old)), policy(&text(&new)));
        let permission = "ledger:read".parse().unwrap();
        let found = effects(&old, &new, now());
        for effect in &found {
            prop_assert_eq!(new.decide(&effect.witness, &permission, effect.at).allowed, effect.gained);
            prop_assert_ne!(old.decide(&effect.witness, &permission, effect.at).allowed, effect.gained);
        }
        for id in ["a", "a/b", "a/c", "c/b", "a/b/c"] {
            let id = format!("spiffe://td/{id}").parse().unwrap();
            let (before, after) = (old.decide(&id, &permission, now()).allowed, new.decide(&id, &permission, now()).allowed);
            prop_assert!(before == after || found.iter().any(|effect| effect.gained == after), "{} is missed", id);
        }
    }
}

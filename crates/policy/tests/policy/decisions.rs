//! What policies decide.

use crate::{at, id, now, permission, policy, rules};
use countersign_policy::{RuleKind, Standing};

const GRANT_READ: &str = "[[grant]]\nid = \"spiffe://td/a\"\npermissions = [\"ledger:read\"]\n";
const DENY_READ: &str = "[[deny]]\nid = \"spiffe://td/**\"\npermissions = [\"ledger:read\"]\n";

fn may(rules_text: &str, path: &str, asked: &str) -> bool {
    rules(rules_text).resolve(&id(path), now()).check(&permission(asked))
}

// Invariant 6: default deny.
#[test]
fn an_identity_without_a_grant_may_do_nothing() {
    assert!(!may("", "/a", "ledger:read"));
    assert!(!may(GRANT_READ, "/b", "ledger:read"));
    assert!(!may(GRANT_READ, "/a/b", "ledger:read"));
    assert!(!may(GRANT_READ, "", "ledger:read"));
    assert!(!may(GRANT_READ, "/a", "ledger:write"));
    let decision = rules(GRANT_READ).decide(&id("/b"), &permission("ledger:read"), now());
    assert!(!decision.allowed && decision.rule.is_none());
}

// Invariant 6: default deny.
#[test]
fn an_identity_of_another_trust_domain_may_do_nothing() {
    let foreign = "spiffe://other/a".parse().unwrap();
    assert!(!rules(GRANT_READ).decide(&foreign, &permission("ledger:read"), now()).allowed);
}

#[test]
fn a_grant_gives_exactly_what_it_lists() {
    assert!(may(GRANT_READ, "/a", "ledger:read"));
    let standing = rules(GRANT_READ).resolve(&id("/a"), now());
    assert_eq!(standing.permissions().collect::<Vec<_>>(), [&permission("ledger:read")]);
    assert_eq!(standing.valid_until(), None);
}

#[test]
fn deny_wins_over_every_grant() {
    for text in [format!("{GRANT_READ}{DENY_READ}"), format!("{DENY_READ}{GRANT_READ}{GRANT_READ}")] {
        assert!(!may(&text, "/a", "ledger:read"));
        let decision = rules(&text).decide(&id("/a"), &permission("ledger:read"), now());
        assert_eq!(decision.rule.map(|rule| rule.kind), Some(RuleKind::Deny));
        assert_eq!(rules(&text).resolve(&id("/a"), now()).permissions().count(), 0);
    }
}

#[test]
fn captures_give_each_tenant_its_own() {
    let text = "[[grant]]\nid = \"spiffe://td/{tenant}/*\"\npermissions = [\"ledger:tenant:{tenant}\"]\n";
    assert!(may(text, "/acme/api", "ledger:tenant:acme"));
    assert!(!may(text, "/acme/api", "ledger:tenant:globex"));
    assert!(!may(text, "/acme/api", "ledger:tenant:api"));
    assert!(!may(text, "/acme/api", "ledger:tenant"));
}

#[test]
fn a_captured_deny_takes_only_its_own() {
    let text = "[[grant]]\nid = \"spiffe://td/{tenant}/{part}\"\n\
                permissions = [\"ledger:tenant:{tenant}\", \"ledger:tenant:{part}\"]\n\
                [[deny]]\nid = \"spiffe://td/{tenant}/**\"\npermissions = [\"ledger:tenant:{tenant}\"]\n";
    assert!(!may(text, "/acme/api", "ledger:tenant:acme"));
    assert!(may(text, "/acme/api", "ledger:tenant:api"));
    assert!(!may(text, "/same/same", "ledger:tenant:same"));
}

#[test]
fn every_character_of_a_spiffe_path_can_be_captured_and_denied() {
    // A deny whose capture did not fit a permission would be a deny that does not deny.
    let text = "[[grant]]\nid = \"spiffe://td/{t}\"\npermissions = [\"ledger:tenant:{t}\"]\n";
    let denied =
        format!("{text}[[deny]]\nid = \"spiffe://td/{{t}}\"\npermissions = [\"ledger:tenant:{{t}}\"]\n");
    for segment in ["AZaz09", "a.b", "...", "-", "_", "a-b_c.d", ".x"] {
        assert!(may(text, &format!("/{segment}"), &format!("ledger:tenant:{segment}")), "{segment}");
        assert!(!may(&denied, &format!("/{segment}"), &format!("ledger:tenant:{segment}")), "{segment}");
    }
}

#[test]
fn a_grant_on_the_ca_makes_privileged_whether_in_force_or_not() {
    let text = "[[grant]]\nid = \"spiffe://td/admin\"\npermissions = [\"countersign:read\"]\nfrom = 2090-01-01T00:00:00Z\n\
                [[deny]]\nid = \"spiffe://td/**\"\npermissions = [\"countersign:read\"]\n";
    assert!(rules(text).is_privileged(&id("/admin")));
    assert!(!rules(text).is_privileged(&id("/other")));
    assert!(!rules(GRANT_READ).is_privileged(&id("/a")));
}

#[test]
fn privilege_begins_and_ends_by_itself() {
    let policy = rules(&format!("{GRANT_READ}from = 2026-01-01T00:00:00Z\nuntil = 2027-01-01T00:00:00Z\n"));
    for (time, allowed, edge) in [
        ("2025-12-31T23:59:59Z", false, Some("2026-01-01T00:00:00Z")),
        ("2026-01-01T00:00:00Z", true, Some("2027-01-01T00:00:00Z")),
        ("2026-12-31T23:59:59Z", true, Some("2027-01-01T00:00:00Z")),
        ("2027-01-01T00:00:00Z", false, None),
    ] {
        let standing = policy.resolve(&id("/a"), at(time));
        assert_eq!(standing.check(&permission("ledger:read")), allowed, "{time}");
        assert_eq!(standing.valid_until(), edge.map(at), "{time}");
        assert!(standing.holds_at(at(time)));
        assert!(edge.is_none_or(|edge| !standing.holds_at(at(edge))));
    }
}

#[test]
fn a_standing_ends_with_the_first_edge_of_any_rule_about_the_identity() {
    let text = format!(
        "{GRANT_READ}until = 2027-01-01T00:00:00Z\n{DENY_READ}from = 2026-12-01T00:00:00Z\n\
         [[grant]]\nid = \"spiffe://td/other\"\npermissions = [\"ledger:read\"]\nuntil = 2026-11-24T00:00:00Z\n"
    );
    let standing = rules(&text).resolve(&id("/a"), now());
    assert_eq!(standing.valid_until(), Some(at("2026-12-01T00:00:00Z")));
    assert!(standing.check(&permission("ledger:read")));
    assert!(!rules(&text).resolve(&id("/a"), at("2026-12-01T00:00:00Z")).check(&permission("ledger:read")));
}

#[test]
fn a_decision_says_which_rule_of_which_policy_in_words() {
    let policy = policy(crate::EXAMPLE);
    let acme = "spiffe://prod.example/payments/acme/api".parse().unwrap();
    let version = policy.version().short();
    let decision = policy.decide(&acme, &permission("ledger:tenant:acme"), now());
    assert_eq!(
        decision.to_string(),
        format!(
            "allowed ledger:tenant:acme: grant 1 (line 5) of policy {version}, settlement, owner payments team"
        )
    );
    assert_eq!(decision.valid_until, Some(at("2027-01-01T00:00:00Z")));
    assert_eq!(decision.version, *policy.version());
    let sandbox = "spiffe://prod.example/payments/sandbox/api".parse().unwrap();
    assert_eq!(
        policy.decide(&sandbox, &permission("ledger:write"), now()).to_string(),
        format!("refused ledger:write: deny 1 (line 11) of policy {version}")
    );
    assert_eq!(
        policy.decide(&acme, &permission("ledger:write"), now()).to_string(),
        format!("refused ledger:write: no grant of policy {version} gives it")
    );
}

#[test]
fn the_first_grant_written_is_the_one_named() {
    let text = format!("{GRANT_READ}owner = \"first\"\n{GRANT_READ}owner = \"second\"\n");
    let decision = rules(&text).decide(&id("/a"), &permission("ledger:read"), now());
    assert_eq!(decision.rule.map(|rule| rule.index), Some(1));
}

#[test]
fn an_empty_standing_refuses_everything() {
    let standing = Standing::empty(*rules("").version());
    assert!(!standing.check(&permission("ledger:read")));
    assert_eq!(standing.permissions().count(), 0);
    assert!(standing.holds_at(now()));
}

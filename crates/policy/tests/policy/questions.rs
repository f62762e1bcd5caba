//! What a policy can tell about itself: tests, explanations, holders, differences.

use crate::{EXAMPLE, at, id, now, permission, policy, rules};
use countersign_policy::{Expectation, Force, Policy, diff, explain, service_changes, who_can};

#[test]
fn a_failing_test_says_what_it_expected_and_what_the_policy_says() {
    let policy = rules(
        "[[grant]]\nid = \"spiffe://td/a\"\npermissions = [\"ledger:read\"]\n\
         [[test]]\nid = \"spiffe://td/a\"\nmay = [\"ledger:write\", \"ledger:read\"]\nmay_not = [\"ledger:read\"]\n",
    );
    let failures = policy.run_tests(now());
    let expected: Vec<_> =
        failures.iter().map(|f| (f.line, f.expected, f.decision.permission.as_str())).collect();
    assert_eq!(expected, [(7, Expectation::May, "ledger:write"), (7, Expectation::MayNot, "ledger:read")]);
    let version = policy.version().short();
    assert_eq!(
        failures[1].to_string(),
        format!(
            "test on line 7: spiffe://td/a may not ledger:read, but the policy says: \
             allowed ledger:read: grant 1 (line 4) of policy {version}"
        )
    );
}

#[test]
fn tests_are_run_at_the_time_given() {
    assert_eq!(policy(EXAMPLE).run_tests(at("2026-12-31T23:59:59Z")).len(), 0);
    assert_eq!(policy(EXAMPLE).run_tests(at("2027-01-01T00:00:00Z")).len(), 1);
}

#[test]
fn an_explanation_lists_every_rule_about_the_identity_in_force_or_not() {
    let policy = rules(
        "[[grant]]\nid = \"spiffe://td/{tenant}\"\npermissions = [\"ledger:read\", \"ledger:tenant:{tenant}\"]\n\
         [[grant]]\nid = \"spiffe://td/*\"\npermissions = [\"ledger:write\"]\nfrom = 2027-01-01T00:00:00Z\nowner = \"ops\"\n\
         [[deny]]\nid = \"spiffe://td/**\"\npermissions = [\"ledger:read\"]\nuntil = 2026-12-01T00:00:00Z\nreason = \"audit\"\n\
         [[deny]]\nid = \"spiffe://td/other\"\npermissions = [\"ledger:read\"]\n",
    );
    let explanation = explain(&policy, &id("/acme"), now());
    let forces: Vec<_> = explanation.rules.iter().map(|rule| rule.force).collect();
    assert_eq!(forces, [Force::InForce, Force::NotYet(at("2027-01-01T00:00:00Z")), Force::InForce]);
    assert_eq!(explanation.may, [permission("ledger:tenant:acme")]);
    assert_eq!(
        explanation.to_string(),
        format!(
            "spiffe://td/acme under policy {}\n  \
             grant 1 (line 4) for spiffe://td/{{tenant}} gives ledger:read, ledger:tenant:acme\n  \
             grant 2 (line 7) for spiffe://td/* gives ledger:write; not in force before 2027-01-01T00:00:00Z; owner ops\n  \
             deny 1 (line 12) for spiffe://td/** takes ledger:read until 2026-12-01T00:00:00Z; audit\n\
             may ledger:tenant:acme, until 2026-12-01T00:00:00Z at the least",
            policy.version().short()
        )
    );
    let nobody = explain(&policy, &"spiffe://other/x".parse().unwrap(), now()).to_string();
    assert!(nobody.ends_with("no rule is about this identity\nmay do nothing"), "{nobody}");
}

#[test]
fn holders_are_narrowed_to_the_captures_that_yield_the_permission() {
    let policy = rules(
        "[[grant]]\nid = \"spiffe://td/{tenant}/{part}/**\"\npermissions = [\"ledger:tenant:{tenant}\"]\n\
         [[grant]]\nid = \"spiffe://td/auditor\"\npermissions = [\"ledger:tenant:acme\"]\nuntil = 2027-01-01T00:00:00Z\n\
         [[grant]]\nid = \"spiffe://td/x/{tenant}\"\npermissions = [\"ledger:tenant:globex\"]\n\
         [[deny]]\nid = \"spiffe://td/*/test/*\"\npermissions = [\"ledger:tenant:acme\"]\n\
         [[deny]]\nid = \"spiffe://td/globex/**\"\npermissions = [\"ledger:tenant:acme\"]\n",
    );
    let holders: Vec<String> =
        who_can(&policy, &permission("ledger:tenant:acme")).iter().map(ToString::to_string).collect();
    assert_eq!(
        holders,
        [
            "spiffe://td/acme/{part}/** by grant 1 (line 4), except spiffe://td/*/test/* by deny 1 (line 14)",
            "spiffe://td/auditor by grant 2 (line 7), until 2027-01-01T00:00:00Z",
        ]
    );
    assert_eq!(who_can(&policy, &permission("ledger:write")), []);
    // No SPIFFE ID has the segment "..", so no one captures it.
    assert_eq!(who_can(&policy, &permission("ledger:tenant:..")), []);
}

#[test]
fn a_difference_names_what_was_added_and_removed() {
    let old = rules("[[grant]]\nid = \"spiffe://td/a\"\npermissions = [\"ledger:read\", \"ledger:write\"]\n");
    let new = rules(
        "[[deny]]\nid = \"spiffe://td/a\"\npermissions = [\"ledger:write\"]\n\
         [[grant]]\nid = \"spiffe://td/a\"\npermissions = [\"ledger:read\"]\nreason = \"reworded\"\n\
         [[grant]]\nid = \"spiffe://td/b\"\npermissions = [\"countersign:read\"]\nuntil = 2027-01-01T00:00:00Z\n",
    );
    let changes = diff(&old, &new);
    assert_eq!(
        changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "- grant spiffe://td/a ledger:write",
            "+ deny spiffe://td/a ledger:write",
            "+ grant spiffe://td/b countersign:read until 2027-01-01T00:00:00Z",
        ]
    );
    assert_eq!(changes[2].service(), "countersign");
    assert_eq!(diff(&new, &new), []);
}

#[test]
fn a_service_that_changes_hands_is_named_with_both() {
    let declared = |line: &str| {
        Policy::parse(&format!("version = 1\n[service.ledger]\npermissions = [\"read\"]\n{line}"), "p")
            .expect("a policy")
    };
    let (plain, moved) = (declared(""), declared("identities = [\"spiffe://td/books/*\"]\n"));
    let told: Vec<_> = service_changes(&plain, &moved).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["~ service ledger is spiffe://td/books/*; it was /ledger of the CA's trust domain"]);
    assert_eq!(service_changes(&moved, &moved), []);
    let none = Policy::parse("version = 1\n", "p").expect("a policy");
    assert!(service_changes(&plain, &none)[0].to_string().starts_with("~ service ledger is not declared"));
}

//! Who a service is, and what an identity may do at one.

use crate::{at, id, now, policy};
use countersign_identity::TrustDomain;
use countersign_policy::{Policy, Problem, RESERVED_SERVICE};

const TWO_SERVICES: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[service.archive]
permissions = ["read"]
identities = ["spiffe://td/storage/archive", "spiffe://td/eu/*/archive", "spiffe://partner/archive"]
[[grant]]
id = "spiffe://td/a"
permissions = ["ledger:read", "archive:read"]
[[grant]]
id = "spiffe://td/a"
permissions = ["archive:read"]
until = 2026-11-23T11:00:00Z
[[grant]]
id = "spiffe://td/a"
permissions = ["ledger:write"]
until = 2026-11-23T12:00:00Z
[[deny]]
id = "spiffe://td/**"
permissions = ["ledger:write"]
from = 2026-11-23T11:30:00Z
"#;

fn home() -> TrustDomain {
    "td".parse().expect("a trust domain")
}

fn serves(id: &str, service: &str) -> bool {
    policy(TWO_SERVICES).serves(&id.parse().expect(id), service, &home())
}

#[test]
fn a_service_without_identities_is_the_identity_of_its_name() {
    assert!(serves("spiffe://td/ledger", "ledger"));
    for other in ["spiffe://td/ledger/a", "spiffe://td/x/ledger", "spiffe://td/Ledger", "spiffe://td/ledgers"]
    {
        assert!(!serves(other, "ledger"), "{other}");
    }
}

#[test]
fn the_name_alone_means_nothing_in_another_trust_domain() {
    assert!(!serves("spiffe://partner/ledger", "ledger"));
}

#[test]
fn a_service_with_identities_is_these_and_no_longer_its_name() {
    for one in ["spiffe://td/storage/archive", "spiffe://td/eu/west/archive", "spiffe://partner/archive"] {
        assert!(serves(one, "archive"), "{one}");
    }
    assert!(!serves("spiffe://td/archive", "archive"));
    assert!(!serves("spiffe://td/ledger", "archive"));
}

#[test]
fn nobody_is_a_service_the_policy_does_not_declare() {
    assert!(!serves("spiffe://td/unheard", "unheard"));
    assert!(!serves("spiffe://td/ledger", ""));
    assert!(!serves("spiffe://td/countersign", RESERVED_SERVICE));
    assert!(!serves("spiffe://td/countersign/ca", RESERVED_SERVICE));
}

#[test]
fn an_empty_or_broken_list_of_identities_is_refused_where_it_stands() {
    let with = |list: &str| {
        let text = format!("version = 1\n[service.ledger]\npermissions = [\"read\"]\nidentities = {list}\n");
        Policy::parse(&text, "policy.toml").expect_err(list)
    };
    let error = with("[]");
    assert_eq!((error.line(), error.column(), error.problem()), (4, 14, &Problem::NoIdentities));
    let error = with(r#"["spiffe://td/a", "/ledger"]"#);
    assert_eq!((error.line(), error.column()), (4, 32));
    assert!(matches!(error.problem(), Problem::Pattern(_)), "{error}");
    assert!(matches!(with(r#""spiffe://td/a""#).problem(), Problem::Toml(_)));
}

#[test]
fn what_an_identity_may_at_one_service_leaves_out_every_other() {
    let standing = policy(TWO_SERVICES).permissions_at(&id("/a"), "ledger", now());
    assert_eq!(
        standing.permissions().map(|p| p.as_str()).collect::<Vec<_>>(),
        ["ledger:read", "ledger:write"]
    );
    let standing = policy(TWO_SERVICES).permissions_at(&id("/a"), "archive", now());
    assert_eq!(standing.permissions().map(|p| p.as_str()).collect::<Vec<_>>(), ["archive:read"]);
    let standing = policy(TWO_SERVICES).permissions_at(&id("/a"), "unheard", now());
    assert_eq!((standing.permissions().count(), standing.valid_until()), (0, None));
}

#[test]
fn it_stands_until_the_next_edge_of_a_rule_about_that_service() {
    let policy = policy(TWO_SERVICES);
    let until = |service| policy.permissions_at(&id("/a"), service, now()).valid_until();
    assert_eq!(until("archive"), Some(at("2026-11-23T11:00:00Z")));
    assert_eq!(until("ledger"), Some(at("2026-11-23T11:30:00Z")), "where the deny begins");
    assert_eq!(policy.resolve(&id("/a"), now()).valid_until(), Some(at("2026-11-23T11:00:00Z")));
}

#[test]
fn a_deny_in_force_counts_at_its_service() {
    let later = policy(TWO_SERVICES).permissions_at(&id("/a"), "ledger", at("2026-11-23T11:30:00Z"));
    assert_eq!(later.permissions().map(|p| p.as_str()).collect::<Vec<_>>(), ["ledger:read"]);
}

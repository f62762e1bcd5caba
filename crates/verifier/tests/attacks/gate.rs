//! Identities and permissions: default deny, times, and a policy that changes under a connection.

use std::sync::Arc;
use std::time::Duration;

use countersign_testkit::noon;
use countersign_verifier::{ArcSwap, Decision, Gate, Permission, PermissionLiteral, Policy, VerifiedPeer};

use crate::world::{PAYMENTS, World};

const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://prod.example/payments"
permissions = ["ledger:read", "ledger:write"]
[[grant]]
id = "spiffe://prod.example/reporting"
permissions = ["ledger:read"]
[[grant]]
id = "spiffe://prod.example/guest"
permissions = ["ledger:read"]
until = 2026-11-23T12:10:00Z
"#;

fn policy(text: &str) -> Policy {
    Policy::parse(text, "policy.toml").expect("a policy")
}

pub(crate) fn gate(world: &World) -> Gate {
    Gate::new(Arc::new(ArcSwap::from_pointee(policy(POLICY))), Arc::clone(&world.clock) as _)
}

fn peer(world: &World, id: &str) -> VerifiedPeer {
    world.verify(&world.issuer.leaf(id).forge()).expect("a correct SVID")
}

fn may(text: &str) -> Permission {
    text.parse().expect("a permission")
}

fn ask(world: &World, gate: &Gate, id: &str, permission: &str) -> Decision {
    gate.authorize(&peer(world, id), &may(permission))
}

#[test]
fn an_identity_may_what_it_was_granted_and_nothing_else() {
    // Invariant 6: an identity without a grant may do nothing.
    let world = World::new();
    let gate = gate(&world);
    assert!(ask(&world, &gate, PAYMENTS, "ledger:write").allowed);
    assert!(ask(&world, &gate, "spiffe://prod.example/reporting", "ledger:read").allowed);
    assert!(!ask(&world, &gate, "spiffe://prod.example/reporting", "ledger:write").allowed);
    assert!(!ask(&world, &gate, "spiffe://prod.example/stranger", "ledger:read").allowed);
    assert!(!ask(&world, &gate, PAYMENTS, "countersign:invite").allowed);
}

#[test]
fn a_decision_holds_no_longer_than_the_certificate() {
    let world = World::new();
    let decision = ask(&world, &gate(&world), PAYMENTS, "ledger:read");
    assert_eq!(decision.valid_until, Some(noon() + Duration::from_secs(3600)));
}

#[test]
fn a_certificate_that_ended_during_its_connection_grants_nothing() {
    let world = World::new();
    let admitted = gate(&world).admit(peer(&world, PAYMENTS));
    world.clock.advance(Duration::from_secs(3599));
    assert!(admitted.authorize(&may("ledger:write")).allowed);
    world.clock.advance(Duration::from_secs(1));
    let decision = admitted.authorize(&may("ledger:write"));
    assert!(!decision.allowed && decision.rule.is_none());
}

#[test]
fn a_grant_that_ends_ends_on_live_connections_too() {
    let world = World::new();
    let admitted = gate(&world).admit(peer(&world, "spiffe://prod.example/guest"));
    let before = admitted.authorize(&may("ledger:read"));
    assert!(before.allowed);
    assert_eq!(before.valid_until, Some(noon() + Duration::from_secs(600)));
    world.clock.advance(Duration::from_secs(600));
    assert!(!admitted.authorize(&may("ledger:read")).allowed);
}

#[test]
fn a_new_policy_counts_on_live_connections() {
    let world = World::new();
    let held = Arc::new(ArcSwap::from_pointee(policy(POLICY)));
    let admitted = Gate::new(Arc::clone(&held), Arc::clone(&world.clock) as _).admit(peer(&world, PAYMENTS));
    assert!(admitted.authorize(&may("ledger:write")).allowed);
    let denied = "\n[[deny]]\nid = \"spiffe://prod.example/payments\"\npermissions = [\"ledger:write\"]\n";
    held.store(Arc::new(policy(&[POLICY, denied].concat())));
    assert!(!admitted.authorize(&may("ledger:write")).allowed);
    assert!(admitted.authorize(&may("ledger:read")).allowed);
}

#[test]
fn endpoints_without_a_rule_and_spelling_mistakes_are_told_apart() {
    let world = World::new();
    let gate = gate(&world);
    const ASKED: [PermissionLiteral; 3] = [
        PermissionLiteral::new("ledger:read"),
        PermissionLiteral::new("ledger:close"),
        PermissionLiteral::new("leger:read"),
    ];
    let more = POLICY.replace(r#""write"]"#, r#""write", "close"]"#);
    let gate_of_more =
        Gate::new(Arc::new(ArcSwap::from_pointee(policy(&more))), Arc::clone(&world.clock) as _);
    assert_eq!(gate.unknown(&ASKED), ASKED[1..]);
    assert_eq!(gate_of_more.unknown(&ASKED), ASKED[2..]);
    assert_eq!(gate_of_more.ungranted(&ASKED), ASKED[1..], "nobody holds what is declared and not granted");
}

//! First contact: the agent knows its certificate authority by a fingerprint and by nothing else.

use std::sync::Arc;
use std::time::Duration;

use countersign_testkit::{Authority, Forged, noon};
use countersign_verifier::{ChainFault, ClientBuilder, ClientConnector, Refusal};
use sha2::{Digest, Sha256};

use crate::world::World;

const CA: &str = "spiffe://prod.example/countersign/ca";

fn pinned(world: &World, root: &Authority) -> ClientConnector {
    let pin = Sha256::digest(root.certificate()).into();
    ClientBuilder::pinned_ca("prod.example".parse().expect("a domain"), pin)
        .expect("an ID")
        .clock(Arc::clone(&world.clock) as _)
        .build()
        .expect("a client")
}

fn refused(connector: &ClientConnector, server: &Forged) -> Refusal {
    connector.judge(&server.chain_with_root()).expect_err("this server must be refused")
}

#[test]
fn the_pinned_authority_is_accepted() {
    let world = World::new();
    let server = world.issuer.leaf(CA).forge();
    let peer = pinned(&world, &world.root).judge(&server.chain_with_root()).expect("the CA");
    assert_eq!(peer.spiffe_id().as_str(), CA);
}

#[test]
fn another_root_of_the_same_trust_domain_is_refused() {
    let world = World::new();
    let other = Authority::root("prod.example").issuer().leaf(CA).forge();
    let refusal = refused(&pinned(&world, &world.root), &other);
    assert_eq!(refusal.code(), "server_not_pinned", "{refusal}");
}

#[test]
fn showing_the_pinned_root_beside_a_foreign_chain_is_not_enough() {
    let world = World::new();
    let impostor = world.root.impostor().issuer().leaf(CA).forge();
    let chain: Vec<_> = impostor.chain().into_iter().chain([world.root.certificate().clone()]).collect();
    let refusal = pinned(&world, &world.root).judge(&chain).expect_err("a foreign chain");
    assert!(matches!(refusal, Refusal::Chain { fault: ChainFault::Signature, .. }), "{refusal}");
}

#[test]
fn a_server_that_does_not_send_the_root_is_refused() {
    let world = World::new();
    let server = world.issuer.leaf(CA).forge();
    let refusal = pinned(&world, &world.root).judge(&server.chain()).expect_err("no root");
    assert!(matches!(refusal, Refusal::NotPinned { .. }), "{refusal}");
}

#[test]
fn a_workload_cannot_answer_as_the_authority() {
    // Invariant 11.
    let world = World::new();
    for id in ["spiffe://prod.example/payments", "spiffe://prod.example/countersign/trust"] {
        let refusal = refused(&pinned(&world, &world.root), &world.issuer.leaf(id).forge());
        assert_eq!(refusal.code(), "peer_not_allowed", "{refusal}");
    }
}

#[test]
fn the_root_itself_is_no_server() {
    let world = World::new();
    let chain = [world.root.certificate().clone(), world.root.certificate().clone()];
    assert!(pinned(&world, &world.root).judge(&chain).is_err());
}

#[test]
fn pinning_a_leaf_or_an_issuer_of_another_domain_does_not_work() {
    let world = World::new();
    let other = Authority::root("other.example");
    let server = other.issuer().leaf("spiffe://other.example/countersign/ca").forge();
    assert!(matches!(refused(&pinned(&world, &other), &server), Refusal::Chain { .. }));
    let leaf = world.root.issuer_with(|params| params.is_ca = rcgen::IsCa::ExplicitNoCa);
    let below = leaf.leaf(CA).forge();
    assert!(matches!(refused(&pinned(&world, &leaf), &below), Refusal::Chain { .. }));
}

#[test]
fn a_wrong_clock_on_the_machine_is_told_by_how_much() {
    let world = World::new();
    let server = world.issuer.leaf(CA).ends(noon()).forge();
    world.clock.advance(Duration::from_secs(7200));
    let refusal = refused(&pinned(&world, &world.root), &server);
    assert!(refusal.to_string().contains("expired 2h ago"), "{refusal}");
}

//! Bytes that are no certificates: refused, never a panic.

use countersign_testkit::mangle;
use countersign_verifier::{Refusal, SvidVerifier, Usage};
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;

use crate::world::{PAYMENTS, World};

type Damage = fn(&[u8]) -> Vec<u8>;

#[test]
fn trailing_bytes_garbage_and_other_encodings_are_malformed() {
    let world = World::new();
    let damages: [Damage; 5] = [
        mangle::trailing_bytes,
        mangle::non_minimal_length,
        mangle::truncated,
        |_| mangle::nested(2000),
        |_| Vec::new(),
    ];
    for damage in damages {
        let refusal = world.refuse(&world.issuer.leaf(PAYMENTS).forge().with_leaf(damage));
        assert_eq!(refusal.code(), "certificate_malformed", "{refusal}");
    }
}

#[test]
fn a_garbage_intermediate_helps_nobody_and_harms_nobody() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).forge();
    let garbage = CertificateDer::from(b"garbage".to_vec());
    let with_issuer = [forged.leaf().clone(), garbage.clone(), world.issuer.certificate().clone()];
    assert!(world.verifier().verify(&with_issuer, Usage::Client).is_ok());
    let without = [forged.leaf().clone(), garbage];
    assert!(world.verifier().verify(&without, Usage::Client).is_err());
}

#[test]
fn a_giant_certificate_is_judged_like_any_other() {
    let world = World::new();
    let giant = |names: usize| {
        let mut leaf = world.issuer.leaf(PAYMENTS);
        for name in 0..names {
            leaf = leaf.dns(&format!("name-{name}.a-long-name-of-no-use.prod.example"));
        }
        leaf.forge()
    };
    let genuine = giant(1000);
    assert!(genuine.leaf().len() > 40_000);
    assert!(world.verify(&genuine).is_ok());
    assert_eq!(world.refuse(&genuine.with_broken_signature()).code(), "certificate_chain_invalid");
    assert_eq!(world.refuse(&giant(1000).with_leaf(mangle::truncated)).code(), "certificate_malformed");
    // Past 64 KiB the path builder reads nothing, and no handshake carries it.
    assert_eq!(world.refuse(&giant(10_000)).code(), "certificate_malformed");
}

thread_local! {
    static VERIFIER: SvidVerifier = World::new().verifier();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_octets_are_refused_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
        let refused = VERIFIER.with(SvidVerifier::clone).verify(&[octets.into()], Usage::Client);
        let malformed = matches!(refused, Err(Refusal::Malformed { .. }));
        prop_assert!(malformed);
    }
}

#[test]
fn no_changed_octet_of_a_certificate_lets_it_pass_or_panics() {
    let world = World::new();
    let genuine = world.issuer.leaf(PAYMENTS).forge();
    let der = genuine.leaf().to_vec();
    for place in 0..der.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[place] ^= change;
            let chain = [changed.into(), world.issuer.certificate().clone()];
            let refused = world.verifier().verify(&chain, Usage::Client);
            assert!(refused.is_err(), "octet {place} changed by {change:#x}");
        }
    }
}

//! Leaves that are no X.509 SVIDs (SPIFFE X509-SVID §4, §5.2), all signed by the right issuer.

use std::time::Duration;

use countersign_identity::{Serial, SpiffeIdError};
use countersign_testkit::{ExtendedKeyUsagePurpose, KeyUsagePurpose, csr, noon};
use countersign_verifier::{LeafRule, NotSpiffe, Refusal};

use crate::world::{PAYMENTS, World};

fn broken_rule(refusal: &Refusal) -> Option<LeafRule> {
    match refusal {
        Refusal::LeafRule { rule } => Some(rule.clone()),
        _ => None,
    }
}

#[test]
fn a_correct_svid_is_accepted_with_everything_it_says() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).serial(&[0x11; 18]).dns("payments.example").forge();
    let peer = world.verify(&forged).expect("a correct SVID");
    assert_eq!(peer.spiffe_id().as_str(), PAYMENTS);
    assert_eq!(peer.serial(), Serial::from_be_bytes(&[0x11; 18]).ok());
    assert_eq!(peer.lineage().map(|l| l.to_string()).as_deref(), Some("l-00112233445566778899aabbccddeeff"));
    assert_eq!(peer.not_before(), noon() - Duration::from_secs(60));
    assert_eq!(peer.not_after(), noon() + Duration::from_secs(3599));
    assert_eq!(peer.leaf_der(), forged.leaf());
}

#[test]
fn p384_and_ed25519_leaves_are_accepted() {
    let world = World::new();
    for key in [csr::p384(), csr::ed25519()] {
        let forged = world.issuer.leaf(PAYMENTS).key(key).forge();
        assert!(world.verify(&forged).is_ok());
    }
}

#[test]
fn a_leaf_without_basic_constraints_or_extended_key_usage_is_accepted() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).no_basic_constraints().extended_key_usages(&[]).forge();
    assert!(world.verify(&forged).is_ok());
}

#[test]
fn a_serial_of_twenty_octets_is_read_but_is_none_of_ours() {
    let world = World::new();
    let peer =
        world.verify(&world.issuer.leaf(PAYMENTS).serial(&[0x11; 20]).forge()).expect("a correct SVID");
    assert_eq!((peer.serial(), peer.serial_octets()), (None, &[0x11; 20][..]));
}

#[test]
fn a_subject_that_is_no_lineage_gives_none() {
    let world = World::new();
    let peer = world.verify(&world.issuer.leaf(PAYMENTS).lineage("12345").forge()).expect("a correct SVID");
    assert_eq!(peer.lineage(), None);
}

#[test]
fn two_uri_names_are_refused() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).uris(&[PAYMENTS, "spiffe://prod.example/admin"]).forge();
    assert!(matches!(world.refuse(&forged), Refusal::NotSpiffe(NotSpiffe::SeveralUris { found: 2 })));
}

#[test]
fn the_same_uri_name_twice_is_refused() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).uris(&[PAYMENTS, PAYMENTS]).forge();
    assert!(matches!(world.refuse(&forged), Refusal::NotSpiffe(NotSpiffe::SeveralUris { found: 2 })));
}

#[test]
fn a_second_uri_of_another_scheme_is_refused_too() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).uris(&[PAYMENTS, "https://payments.example/"]).forge();
    assert!(matches!(world.refuse(&forged), Refusal::NotSpiffe(NotSpiffe::SeveralUris { found: 2 })));
}

#[test]
fn no_uri_name_is_refused() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).uris(&[]).dns("payments.example").forge();
    assert!(matches!(world.refuse(&forged), Refusal::NotSpiffe(NotSpiffe::NoUri)));
    let nameless = world.issuer.leaf(PAYMENTS).uris(&[]).forge();
    assert!(matches!(world.refuse(&nameless), Refusal::NotSpiffe(NotSpiffe::NoUri)));
}

#[test]
fn uris_that_are_no_spiffe_ids_are_refused() {
    let world = World::new();
    let not_ids = [
        "https://prod.example/payments",
        "SPIFFE://prod.example/payments",
        "spiffe://PROD.example/payments",
        "spiffe://prod.example/pay%6dents",
        "spiffe://prod.example/payments?admin",
        "spiffe://prod.example/payments#x",
        "spiffe://root@prod.example/payments",
        "spiffe://prod.example:443/payments",
        "spiffe://prod.example/../payments",
        "spiffe://prod.example//payments",
        "spiffe://prod.example/payments/",
        "spiffe://",
        "",
    ];
    for uri in not_ids {
        let forged = world.issuer.leaf(PAYMENTS).uris(&[uri]).forge();
        let refusal = world.refuse(&forged);
        assert!(matches!(refusal, Refusal::NotSpiffe(NotSpiffe::NotAnId(_))), "{uri}: {refusal}");
        assert_eq!(refusal.code(), "certificate_not_svid");
    }
}

#[test]
fn an_overlong_spiffe_id_is_refused() {
    let world = World::new();
    let long = format!("spiffe://prod.example/{}", "a".repeat(2048));
    let refusal = world.refuse(&world.issuer.leaf(&long).forge());
    assert!(
        matches!(refusal, Refusal::NotSpiffe(NotSpiffe::NotAnId(SpiffeIdError::TooLong { .. }))),
        "{refusal}"
    );
}

#[test]
fn a_path_less_id_is_refused() {
    let world = World::new();
    let refusal = world.refuse(&world.issuer.leaf("spiffe://prod.example").forge());
    assert!(matches!(refusal, Refusal::NotSpiffe(NotSpiffe::NoPath(_))), "{refusal}");
}

#[test]
fn a_certificate_authority_may_not_authenticate() {
    let world = World::new();
    let refusal = world.refuse(&world.issuer.leaf(PAYMENTS).ca().forge());
    assert_eq!(broken_rule(&refusal), Some(LeafRule::IsCa), "{refusal}");
}

#[test]
fn the_issuer_itself_may_not_authenticate() {
    let world = World::new();
    let chain = [world.issuer.certificate().clone(), world.root.certificate().clone()];
    let refusal = world.verifier().verify(&chain, countersign_verifier::Usage::Client);
    assert!(matches!(refusal, Err(Refusal::NotSpiffe(NotSpiffe::NoPath(_)))));
}

#[test]
fn key_usages_of_an_authority_are_refused() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment};
    let world = World::new();
    let cases = [
        (&[DigitalSignature, KeyCertSign][..], LeafRule::KeyCertSign),
        (&[KeyCertSign], LeafRule::KeyCertSign),
        (&[DigitalSignature, CrlSign], LeafRule::CrlSign),
        (&[KeyEncipherment], LeafRule::NoDigitalSignature),
        (&[], LeafRule::NoKeyUsage),
    ];
    for (usages, rule) in cases {
        let refusal = world.refuse(&world.issuer.leaf(PAYMENTS).key_usages(usages).forge());
        assert_eq!(broken_rule(&refusal), Some(rule), "{usages:?}: {refusal}");
    }
}

#[test]
fn a_key_usage_that_is_not_critical_is_refused() {
    let world = World::new();
    let refusal = world.refuse(&world.issuer.leaf(PAYMENTS).key_usage_not_critical().forge());
    assert_eq!(broken_rule(&refusal), Some(LeafRule::KeyUsageNotCritical), "{refusal}");
}

#[test]
fn an_extended_key_usage_for_one_side_only_is_refused_on_both() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    let world = World::new();
    for purposes in [&[ServerAuth][..], &[ClientAuth], &[CodeSigning], &[Any]] {
        let refusal = world.refuse(&world.issuer.leaf(PAYMENTS).extended_key_usages(purposes).forge());
        assert_eq!(broken_rule(&refusal), Some(LeafRule::ExtendedKeyUsage), "{purposes:?}: {refusal}");
    }
}

#[test]
fn a_certificate_is_good_through_its_last_second_and_not_one_more() {
    let world = World::new();
    let last = world.issuer.leaf(PAYMENTS).ends(noon()).forge();
    assert!(world.verify(&last).is_ok());
    world.clock.advance(Duration::from_secs(1));
    match world.refuse(&last) {
        Refusal::Expired { by, peer } => {
            assert_eq!(by, Duration::from_secs(1));
            assert_eq!(peer.spiffe_id().as_str(), PAYMENTS);
        }
        other => panic!("expected expired, found {other}"),
    }
}

#[test]
fn an_expired_certificate_is_told_by_how_much() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).ends(noon()).forge();
    world.clock.advance(Duration::from_secs(240));
    let refusal = world.refuse(&forged);
    assert_eq!(
        refusal.to_string(),
        "the certificate of spiffe://prod.example/payments expired 4m ago, at 2026-11-23T12:00:00Z"
    );
    assert_eq!(refusal.code(), "certificate_expired");
}

#[test]
fn a_certificate_from_the_future_is_told_by_how_much() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).begins(noon() + Duration::from_secs(1)).forge();
    let refusal = world.refuse(&forged);
    assert!(matches!(refusal, Refusal::NotYetValid { by, .. } if by == Duration::from_secs(1)), "{refusal}");
    assert!(refusal.to_string().contains("another 1s"), "{refusal}");
    world.clock.advance(Duration::from_secs(1));
    assert!(world.verify(&forged).is_ok());
}

#[test]
fn an_expired_certificate_with_another_fault_is_refused_for_the_fault() {
    let world = World::new();
    let expired = || world.issuer.leaf(PAYMENTS).ends(noon() - Duration::from_secs(1));
    assert!(matches!(world.refuse(&expired().key_usages(&[]).forge()), Refusal::LeafRule { .. }));
    assert!(matches!(world.refuse(&expired().forge().with_broken_signature()), Refusal::Chain { .. }));
    let foreign = World::new().issuer.leaf(PAYMENTS).ends(noon() - Duration::from_secs(1)).forge();
    assert!(matches!(world.refuse(&foreign), Refusal::UnknownIssuer { .. }));
}

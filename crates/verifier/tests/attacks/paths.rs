//! Paths that lead nowhere, or to the wrong root.

use std::sync::Arc;
use std::time::Duration;

use countersign_identity::TrustBundle;
use countersign_testkit::{Authority, Forged, KeyUsagePurpose, noon};
use countersign_verifier::{
    AuthorityRule, ChainFault, PeerFacts, Refusal, Revocation, SvidVerifier, TrustError, TrustStore, Usage,
    provider,
};

use crate::world::{PAYMENTS, World, trust};

fn fault(refusal: Refusal) -> Option<ChainFault> {
    match refusal {
        Refusal::Chain { fault, .. } => Some(fault),
        _ => None,
    }
}

#[test]
fn a_broken_signature_is_refused() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).forge().with_broken_signature();
    assert_eq!(fault(world.refuse(&forged)), Some(ChainFault::Signature));
}

#[test]
fn another_authority_of_the_same_trust_domain_is_refused() {
    let world = World::new();
    let forged = Authority::root("prod.example").issuer().leaf(PAYMENTS).forge();
    let refusal = world.refuse(&forged);
    assert!(matches!(refusal, Refusal::UnknownIssuer { .. }), "{refusal}");
    assert_eq!(refusal.code(), "certificate_foreign");
}

#[test]
fn an_impostor_with_the_name_of_our_root_is_refused() {
    let world = World::new();
    let forged = world.root.impostor().leaf(PAYMENTS).forge();
    assert_eq!(fault(world.refuse(&forged)), Some(ChainFault::Signature));
}

#[test]
fn a_trust_domain_without_a_bundle_is_refused_by_name() {
    let world = World::new();
    let refusal =
        world.refuse(&Authority::root("other.example").issuer().leaf("spiffe://other.example/x").forge());
    assert!(matches!(refusal, Refusal::UnknownTrustDomain { .. }), "{refusal}");
    assert!(refusal.to_string().contains("other.example"));
    assert_eq!(refusal.code(), "certificate_foreign");
}

#[test]
fn the_authority_of_one_trust_domain_cannot_name_workloads_of_another() {
    // RECIPES, trap 5: in a merged root store this one gets in.
    let world = World::new();
    let other = Authority::root("other.example");
    world.trust.replace(other.bundle()).expect("a good root");
    let forged = other.issuer().leaf(PAYMENTS).forge();
    assert!(matches!(world.refuse(&forged), Refusal::UnknownIssuer { .. }));
    let honest = other.issuer().leaf("spiffe://other.example/payments").forge();
    assert!(world.verify(&honest).is_ok());
}

#[test]
fn a_leaf_straight_under_the_root_is_accepted() {
    let world = World::new();
    assert!(world.verify(&world.root.leaf(PAYMENTS).forge()).is_ok());
}

#[test]
fn a_missing_intermediate_is_an_unknown_issuer() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).forge();
    let alone = [forged.leaf().clone()];
    assert!(matches!(world.verifier().verify(&alone, Usage::Client), Err(Refusal::UnknownIssuer { .. })));
}

#[test]
fn no_chain_at_all_is_no_certificate() {
    let refusal = World::new().verifier().verify(&[], Usage::Client);
    assert!(matches!(refusal, Err(Refusal::NoCertificate)));
}

#[test]
fn an_intermediate_without_key_cert_sign_is_refused() {
    // RECIPES, trap 1: rustls-webpki accepts it.
    let world = World::new();
    let issuer = world.root.issuer_with(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert_eq!(
        fault(world.refuse(&issuer.leaf(PAYMENTS).forge())),
        Some(ChainFault::NotAnAuthority(AuthorityRule::NoKeyCertSign))
    );
    let silent = world.root.issuer_with(|params| params.key_usages = vec![]);
    assert_eq!(
        fault(world.refuse(&silent.leaf(PAYMENTS).forge())),
        Some(ChainFault::NotAnAuthority(AuthorityRule::NoKeyCertSign))
    );
}

#[test]
fn a_workload_cannot_issue_certificates() {
    // Invariant 11: no workload certificate can act as the CA.
    let world = World::new();
    let workload = world.root.issuer_with(|params| {
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let forged = workload.leaf("spiffe://prod.example/admin").forge();
    assert_eq!(fault(world.refuse(&forged)), Some(ChainFault::NotAnAuthority(AuthorityRule::NotCa)));
}

#[test]
fn a_path_length_constraint_holds() {
    let world = World::new();
    let issuer = world
        .root
        .issuer_with(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0)));
    assert!(world.verify(&issuer.leaf(PAYMENTS).forge()).is_ok());
    let below = issuer.issuer().leaf(PAYMENTS).forge();
    assert!(matches!(fault(world.refuse(&below)), Some(ChainFault::Other(_))));
}

#[test]
fn an_intermediate_with_a_workloads_or_a_foreign_id_is_refused() {
    let world = World::new();
    for id in ["spiffe://prod.example/payments", "spiffe://other.example"] {
        let uri = rcgen::SanType::URI(id.try_into().expect("ASCII"));
        let issuer = world.root.issuer_with(|params| params.subject_alt_names = vec![uri]);
        let found = fault(world.refuse(&issuer.leaf(PAYMENTS).forge()));
        assert!(
            matches!(found, Some(ChainFault::NotAnAuthority(AuthorityRule::OwnId { .. }))),
            "{id}: {found:?}"
        );
    }
    let nameless = world.root.issuer_with(|params| params.subject_alt_names = vec![]);
    assert!(world.verify(&nameless.leaf(PAYMENTS).forge()).is_ok());
}

#[test]
fn a_chain_longer_than_honest_ones_is_refused() {
    let world = World::new();
    let mut authority = world.root.issuer();
    for _ in 0..16 {
        authority = authority.issuer();
    }
    let found = fault(world.refuse(&authority.leaf(PAYMENTS).forge()));
    assert!(matches!(found, Some(ChainFault::TooLong { .. })), "{found:?}");
}

#[test]
fn a_chain_a_hundred_deep_is_refused_before_any_signature() {
    let world = World::new();
    let mut authority = world.root.issuer();
    for _ in 0..99 {
        authority = authority.issuer();
    }
    let forged = authority.leaf(PAYMENTS).forge();
    let found = fault(world.refuse(&forged));
    assert_eq!(found, Some(ChainFault::TooLong { found: 101, limit: 16 }));
}

#[test]
fn a_chain_that_goes_round_in_a_circle_leads_nowhere() {
    let world = World::new();
    // Two authorities that certified each other, and no root that knows either.
    let (one, other) = (Authority::root("prod.example"), Authority::root("prod.example"));
    let leaf = one.leaf(PAYMENTS).forge();
    let circle = [leaf.leaf().clone(), other.cross_sign(&one), one.cross_sign(&other)];
    let refusal = world.verifier().verify(&circle, Usage::Client).expect_err("it leads to no root");
    assert!(matches!(refusal, Refusal::UnknownIssuer { .. }), "{refusal}");
    // The same circle beside a way out of it.
    let way_out = world.root.cross_sign(&other);
    let open = [&circle[..], &[way_out]].concat();
    assert!(world.verifier().verify(&open, Usage::Client).is_ok());
    let many: Vec<_> = circle.iter().cycle().skip(1).take(15).cloned().collect();
    let repeated = [&circle[..1], &many].concat();
    let refusal = world.verifier().verify(&repeated, Usage::Client).expect_err("the circle again and again");
    assert!(matches!(refusal, Refusal::UnknownIssuer { .. } | Refusal::Chain { .. }), "{refusal}");
}

#[test]
fn a_chain_in_any_order_and_with_strangers_is_accepted() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).forge();
    let stranger = Authority::root("other.example").certificate().clone();
    let chain = [
        forged.leaf().clone(),
        stranger,
        world.root.certificate().clone(),
        world.issuer.certificate().clone(),
    ];
    assert!(world.verifier().verify(&chain, Usage::Client).is_ok());
}

#[test]
fn an_expired_intermediate_is_named_and_not_the_leaf() {
    let world = World::new();
    let issuer = world.root.issuer_with(|params| params.not_after = at(-3));
    let found = fault(world.refuse(&issuer.leaf(PAYMENTS).forge()));
    assert_eq!(found, Some(ChainFault::Expired { by: Duration::from_secs(3) }));
}

#[test]
fn a_root_past_its_end_vouches_for_nobody() {
    // Path building does not look at a trust anchor's times.
    let root = Authority::root_with("prod.example", |params| params.not_after = at(-5));
    let world = World { trust: trust([root.bundle()]), ..World::new() };
    let found = fault(world.refuse(&root.leaf(PAYMENTS).forge()));
    assert_eq!(found, Some(ChainFault::Expired { by: Duration::from_secs(5) }));
}

#[test]
fn an_empty_bundle_trusts_nobody() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).forge();
    assert!(world.verify(&forged).is_ok());
    world.trust.replace(TrustBundle::new("prod.example".parse().expect("a domain"), vec![])).expect("legal");
    assert!(matches!(world.refuse(&forged), Refusal::UnknownIssuer { .. }));
}

#[test]
fn a_replaced_bundle_counts_at_once() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).forge();
    let next = Authority::root("prod.example");
    world.trust.replace(next.bundle()).expect("a good root");
    assert!(matches!(world.refuse(&forged), Refusal::UnknownIssuer { .. }));
    assert!(world.verify(&next.leaf(PAYMENTS).forge()).is_ok());
    world.trust.remove(&"prod.example".parse().expect("a domain"));
    assert!(matches!(world.refuse(&forged), Refusal::UnknownTrustDomain { .. }));
}

#[test]
fn a_root_that_may_not_sign_is_refused_when_loaded() {
    let not_ca = Authority::root_with("prod.example", |params| params.is_ca = rcgen::IsCa::ExplicitNoCa);
    let no_sign =
        Authority::root_with("prod.example", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    for (root, expected) in [(not_ca, AuthorityRule::NotCa), (no_sign, AuthorityRule::NoKeyCertSign)] {
        match TrustStore::new([root.bundle()]) {
            Err(TrustError::NotARoot { rule, number: 1, .. }) => assert_eq!(rule, expected),
            other => panic!("expected a refused root, found {other:?}"),
        }
    }
    let garbage = TrustBundle::new("prod.example".parse().expect("a domain"), vec![b"garbage".to_vec()]);
    assert!(matches!(TrustStore::new([garbage]), Err(TrustError::NotARoot { .. })));
}

#[test]
fn a_root_of_another_trust_domain_is_refused_when_loaded() {
    let other = Authority::root("other.example");
    let bundle = TrustBundle::new("prod.example".parse().expect("a domain"), other.bundle().roots().to_vec());
    let refused = TrustStore::new([bundle]);
    assert!(
        matches!(refused, Err(TrustError::NotARoot { rule: AuthorityRule::OwnId { .. }, .. })),
        "{refused:?}"
    );
}

#[test]
fn two_bundles_for_one_trust_domain_are_refused() {
    let roots = [Authority::root("prod.example"), Authority::root("prod.example")];
    let refused = TrustStore::new(roots.map(|root| root.bundle()));
    assert!(matches!(refused, Err(TrustError::Twice { .. })));
}

#[derive(Debug)]
struct Listed(Vec<u8>);

impl Revocation for Listed {
    fn is_revoked(&self, facts: &PeerFacts) -> bool {
        facts.serial_octets() == self.0
    }
}

#[test]
fn a_listed_certificate_is_revoked_and_expiry_does_not_hide_it() {
    let world = World::new();
    let list = Arc::new(Listed(vec![0x22; 18]));
    let verifier = SvidVerifier::new(provider(), Arc::clone(&world.trust), Arc::clone(&world.clock) as _)
        .with_revocation(list);
    let verify = |forged: &Forged| verifier.verify(&forged.chain(), Usage::Client);
    let listed = world.issuer.leaf(PAYMENTS).serial(&[0x22; 18]).ends(noon()).forge();
    assert!(verify(&world.issuer.leaf(PAYMENTS).forge()).is_ok());
    assert!(matches!(verify(&listed), Err(Refusal::Revoked { .. })));
    world.clock.advance(Duration::from_secs(60));
    let refusal = verify(&listed).expect_err("revoked");
    assert_eq!(refusal.code(), "certificate_revoked", "{refusal}");
}

fn at(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(noon().unix() + seconds).expect("a time")
}

//! Peers under a snapshot in force: what it revokes, whom it lists, and how old it may be.

use std::sync::Arc;
use std::time::Duration;

use countersign_testkit::{Authority, Forged, SnapshotForge, noon, roots_document};
use countersign_verifier::{
    ChainFault, HardLimit, Refusal, SvidVerifier, TrustStore, Usage, VerifiedPeer, provider,
};
use serde_json::json;

use crate::snapshots::{Domain, judge};
use crate::world::PAYMENTS;

const LINEAGE: &str = "l-00112233445566778899aabbccddeeff";

struct Service {
    domain: Domain,
    store: Arc<TrustStore>,
    clock: Arc<countersign_identity::ManualClock>,
}

impl Service {
    /// One with a snapshot in force.
    fn under(change: impl for<'a> FnOnce(&'a Domain, SnapshotForge<'a>) -> SnapshotForge<'a>) -> Self {
        let domain = Domain::new();
        let forged = change(&domain, domain.forge()).forge();
        let snapshot = judge(&domain.trusted(), &forged).expect("a good snapshot");
        let store = Arc::new(TrustStore::default());
        store.adopt(&snapshot, HardLimit::default()).expect("good roots");
        Self { domain, store, clock: countersign_testkit::noon_clock() }
    }

    fn verify(&self, forged: &Forged) -> Result<VerifiedPeer, Refusal> {
        let verifier = SvidVerifier::new(provider(), Arc::clone(&self.store), Arc::clone(&self.clock) as _);
        verifier.verify(&forged.chain(), Usage::Client)
    }

    fn refuse(&self, forged: &Forged) -> Refusal {
        self.verify(forged).expect_err("this peer must be refused")
    }

    fn machine(&self) -> Forged {
        self.domain.issuer.leaf(PAYMENTS).serial(&[5; 18]).forge()
    }
}

fn soon() -> countersign_identity::Timestamp {
    noon() + Duration::from_secs(3600)
}

#[test]
fn a_peer_of_a_listed_issuer_is_known_with_or_without_the_issuer_in_its_chain() {
    let service = Service::under(|_, forge| forge);
    let machine = service.machine();
    assert!(service.verify(&machine).is_ok());
    let verifier = SvidVerifier::new(provider(), Arc::clone(&service.store), Arc::clone(&service.clock) as _);
    assert!(verifier.verify(&[machine.leaf().clone()], Usage::Server).is_ok());
}

#[test]
fn a_peer_whose_serial_number_is_listed_is_refused() {
    let serial = "05".repeat(18);
    let service = Service::under(|domain, forge| forge.revoke(&domain.issuer, &serial, soon()));
    assert!(matches!(service.refuse(&service.machine()), Refusal::Revoked { .. }));
    assert!(service.verify(&service.domain.issuer.leaf(PAYMENTS).forge()).is_ok());
    // The same number under another key is another certificate.
    let service = Service::under(|domain, forge| forge.revoke(&domain.root, &serial, soon()));
    assert!(service.verify(&service.machine()).is_ok());
}

#[test]
fn a_lineage_or_subject_is_revoked_up_to_a_time() {
    for (list, name) in [("lineages", LINEAGE), ("subjects", PAYMENTS)] {
        let until = noon() - Duration::from_secs(30);
        let entries = json!([[name, until.unix(), soon().unix()]]);
        let service = Service::under(|_, forge| forge.list(list, entries));
        assert!(matches!(service.refuse(&service.machine()), Refusal::Revoked { .. }), "{list}");
        let later = service.domain.issuer.leaf(PAYMENTS).begins(until).forge();
        assert!(service.verify(&later).is_ok(), "{list}: it begins when the revocation ends");
        let other = service.domain.issuer.leaf("spiffe://prod.example/other");
        let other = other.lineage("l-ffffffffffffffffffffffffffffffff").forge();
        assert!(service.verify(&other).is_ok(), "{list}");
    }
}

#[test]
fn an_issuer_that_is_not_listed_is_refused_even_if_a_root_signed_it() {
    let service = Service::under(|_, forge| forge);
    let unlisted = service.domain.root.issuer().leaf(PAYMENTS).forge();
    let fault = match service.refuse(&unlisted) {
        Refusal::Chain { fault, .. } => fault,
        other => panic!("{other}"),
    };
    assert_eq!(fault, ChainFault::IssuerNotListed);
    // Neither may a root pass by its issuers, nor an issuer make another.
    let direct = service.domain.root.leaf(PAYMENTS).forge();
    assert!(matches!(service.refuse(&direct), Refusal::Chain { fault: ChainFault::IssuerNotListed, .. }));
    let below = service.domain.issuer.issuer().leaf(PAYMENTS).forge();
    assert!(matches!(service.refuse(&below), Refusal::Chain { fault: ChainFault::IssuerNotListed, .. }));
    let stranger = Authority::root("prod.example").issuer().leaf(PAYMENTS).forge();
    assert!(matches!(service.refuse(&stranger), Refusal::UnknownIssuer { .. }));
}

#[test]
fn the_rules_for_leaves_hold_under_an_anchored_issuer() {
    let service = Service::under(|_, forge| forge);
    let issuer = &service.domain.issuer;
    assert_eq!(service.refuse(&issuer.leaf(PAYMENTS).ca().forge()).code(), "certificate_not_svid");
    let broken = issuer.leaf(PAYMENTS).forge().with_broken_signature();
    assert!(matches!(service.refuse(&broken), Refusal::Chain { fault: ChainFault::Signature, .. }));
    let late = issuer.leaf(PAYMENTS).ends(noon() - Duration::from_secs(1)).forge();
    assert!(matches!(service.refuse(&late), Refusal::Expired { .. }));
    let foreign = issuer.leaf("spiffe://other.example/x").forge();
    assert!(matches!(service.refuse(&foreign), Refusal::UnknownTrustDomain { .. }));
    let purpose = issuer
        .leaf(PAYMENTS)
        .extended_key_usages(&[countersign_testkit::ExtendedKeyUsagePurpose::CodeSigning]);
    assert_eq!(service.refuse(&purpose.forge()).code(), "certificate_not_svid");
}

#[test]
fn no_verdict_outlives_an_issuer_or_its_root() {
    let ends = |params: &mut rcgen::CertificateParams, after: u64| {
        let end = noon() + Duration::from_secs(after);
        params.not_after = time::OffsetDateTime::from_unix_timestamp(end.unix()).expect("a time");
    };
    let root = Authority::root_with("prod.example", |params| ends(params, 1800));
    for (root, issuer, after) in [(Authority::root("prod.example"), 600, 600), (root, 3000, 1800)] {
        let issuer = root.issuer_with(|params| ends(params, issuer));
        let signer = root.trust_signer(1);
        let domain = Domain { root, issuer, signer };
        let snapshot = judge(&domain.trusted(), &domain.forge().forge()).expect("a good snapshot");
        let store = Arc::new(TrustStore::default());
        store.adopt(&snapshot, HardLimit::Never).expect("good roots");
        let service = Service { domain, store, clock: countersign_testkit::noon_clock() };
        let machine = service.domain.issuer.leaf(PAYMENTS).forge();
        service.clock.set(noon() + Duration::from_secs(after));
        assert!(service.verify(&machine).is_ok(), "the last second");
        service.clock.advance(Duration::from_secs(1));
        assert!(matches!(service.refuse(&machine), Refusal::Chain { fault: ChainFault::Expired { .. }, .. }));
    }
}

#[test]
fn an_authority_with_constraints_is_asked_for_whole_paths() {
    let secret = rcgen::GeneralSubtree::DnsName("secret.example".to_owned());
    let root = Authority::root_with("prod.example", |params| {
        params.name_constraints =
            Some(rcgen::NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: vec![secret] });
    });
    let signer = root.trust_signer(1);
    let domain = Domain { issuer: root.issuer(), root, signer };
    let snapshot = judge(&domain.trusted(), &domain.forge().forge()).expect("a good snapshot");
    let store = Arc::new(TrustStore::default());
    store.adopt(&snapshot, HardLimit::Never).expect("good roots");
    let service = Service { domain, store, clock: countersign_testkit::noon_clock() };
    assert!(service.verify(&service.machine()).is_ok());
    let named = service.domain.issuer.leaf(PAYMENTS).dns("a.secret.example").forge();
    assert!(matches!(service.refuse(&named), Refusal::Chain { .. }), "the root forbids the name");
}

#[test]
fn past_the_hard_limit_nobody_is_let_in() {
    let service = Service::under(|_, forge| forge);
    let day = Duration::from_secs(86_400);
    let machine = service.domain.issuer.leaf(PAYMENTS).ends(noon() + day * 2).forge();
    service.clock.set(noon() + day);
    assert!(service.verify(&machine).is_ok());
    service.clock.advance(Duration::from_secs(1));
    let refusal = service.refuse(&machine);
    assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal}");
    assert_eq!(refusal.code(), "trust_stale");
}

#[test]
fn a_peer_is_judged_again_by_what_changed() {
    let service = Service::under(|_, forge| forge);
    let Service { domain, store, clock } = &service;
    let verifier = SvidVerifier::new(provider(), Arc::clone(store), Arc::clone(clock) as _);
    let peer = service.verify(&service.machine()).expect("a good peer");
    assert!(verifier.still_stands(&peer).is_ok());
    let mut held = domain.trusted();
    let mut adopt = |forge: SnapshotForge<'_>| {
        let snapshot = judge(&held, &forge.forge()).expect("a good snapshot");
        store.adopt(&snapshot, HardLimit::default()).expect("good roots");
        held = snapshot.trusted().clone();
    };
    adopt(domain.forge().sequence(2).revoke(&domain.issuer, &"05".repeat(18), soon()));
    assert!(matches!(verifier.still_stands(&peer), Err(Refusal::Revoked { .. })));
    adopt(domain.forge().sequence(3));
    assert!(verifier.still_stands(&peer).is_ok(), "a suspension that ended");
    adopt(SnapshotForge::new(&domain.root, &domain.signer).sequence(4));
    assert!(matches!(
        verifier.still_stands(&peer),
        Err(Refusal::Chain { fault: ChainFault::IssuerNotListed, .. })
    ));
    adopt(domain.forge().sequence(5));
    clock.set(peer.not_after() + Duration::from_secs(1));
    assert!(matches!(verifier.still_stands(&peer), Err(Refusal::Expired { .. })));
    clock.set(noon() + Duration::from_secs(86_401));
    assert!(matches!(verifier.still_stands(&peer), Err(Refusal::Stale { .. })));
    store.remove(&"prod.example".parse().expect("a trust domain"));
    assert!(matches!(verifier.still_stands(&peer), Err(Refusal::UnknownTrustDomain { .. })));
}

#[test]
fn a_root_that_left_takes_its_issuers_with_it() {
    let domain = Domain::new();
    let new = Authority::root("prod.example");
    let first = roots_document(1, &[&domain.root], None, &[&domain.root]);
    let second = roots_document(2, &[&new], Some(&first), &[&domain.root, &new]);
    let (issuer, signer) = (new.issuer(), new.trust_signer(1));
    let forge = SnapshotForge::new(&new, &signer).roots(&[first, second]);
    let stale = forge.issuer(&domain.issuer).forge();
    assert!(judge(&domain.trusted(), &stale).is_err(), "an issuer of the root that left");
    let first = roots_document(1, &[&domain.root], None, &[&domain.root]);
    let second = roots_document(2, &[&new], Some(&first), &[&domain.root, &new]);
    let forged = SnapshotForge::new(&new, &signer).roots(&[first, second]).issuer(&issuer).forge();
    let snapshot = judge(&domain.trusted(), &forged).expect("a good snapshot");
    let store = Arc::new(TrustStore::default());
    store.adopt(&snapshot, HardLimit::default()).expect("good roots");
    let service = Service { domain, store, clock: countersign_testkit::noon_clock() };
    assert!(matches!(service.refuse(&service.machine()), Refusal::UnknownIssuer { .. }));
    assert!(service.verify(&issuer.leaf(PAYMENTS).forge()).is_ok());
}

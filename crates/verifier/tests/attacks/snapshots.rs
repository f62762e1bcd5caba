//! Forged, replayed and damaged trust snapshots: each refused with its own reason.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_testkit::{Authority, Forged, ForgedSnapshot, SnapshotForge, mangle, noon, roots_document};
use countersign_verifier::{
    IssuerFault, Parts, RootsFault, SignerFault, Snapshot, SnapshotFault, SnapshotFile, Trusted, provider,
};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{PAYMENTS, World};

/// A trust domain with a root, an issuer and a trust signer of epoch 1.
pub(crate) struct Domain {
    pub(crate) root: Authority,
    pub(crate) issuer: Authority,
    pub(crate) signer: Forged,
}

impl Domain {
    pub(crate) fn new() -> Self {
        let World { root, issuer, .. } = World::new();
        let signer = root.trust_signer(1);
        Self { root, issuer, signer }
    }

    pub(crate) fn trusted(&self) -> Trusted {
        Trusted::anchored(self.root.bundle())
    }

    pub(crate) fn forge(&self) -> SnapshotForge<'_> {
        SnapshotForge::new(&self.root, &self.signer).issuer(&self.issuer)
    }
}

pub(crate) fn judge(trusted: &Trusted, forged: &ForgedSnapshot) -> Result<Snapshot, SnapshotFault> {
    let judged = trusted.judge(forged.jws(), noon(), &provider())?;
    judged.complete(None, forged.parts(), &provider())
}

fn refuse(domain: &Domain, forged: &ForgedSnapshot) -> SnapshotFault {
    judge(&domain.trusted(), forged).expect_err("this snapshot must be refused")
}

fn after(domain: &Domain, first: SnapshotForge<'_>) -> Trusted {
    let first = judge(&domain.trusted(), &first.forge()).expect("a good snapshot");
    first.trusted().clone()
}

#[test]
fn a_good_snapshot_says_what_it_says() {
    let domain = Domain::new();
    let end = noon() + Duration::from_secs(60);
    let forged = domain.forge().sequence(9).revoke(&domain.issuer, "0abc", end).forge();
    let snapshot = judge(&domain.trusted(), &forged).expect("a good snapshot");
    assert_eq!((snapshot.epoch(), snapshot.sequence()), (1, 9));
    assert_eq!((snapshot.issued(), snapshot.expires()), (noon(), noon() + Duration::from_secs(3600)));
    assert_eq!((snapshot.issuer_count(), snapshot.revoked_serials()), (1, 1));
    assert_eq!(snapshot.bundle().roots(), domain.root.bundle().roots());
    assert_eq!(snapshot.trusted().roots_version(), Some(1));
    assert_eq!(snapshot.token_keys(), br#"{"keys":[]}"#);
    assert!(snapshot.policy().is_ok());
}

#[test]
fn the_same_snapshot_again_is_no_step_back() {
    let domain = Domain::new();
    let forged = domain.forge().forge();
    let first = judge(&domain.trusted(), &forged).expect("a good snapshot");
    assert!(judge(first.trusted(), &forged).is_ok());
    let again = domain.forge().issued(noon() + Duration::from_secs(1)).forge();
    assert!(judge(first.trusted(), &again).is_ok(), "signed again, a second later");
}

#[test]
fn an_older_snapshot_replayed_is_refused() {
    let domain = Domain::new();
    let held = after(&domain, domain.forge().sequence(7));
    let older = domain.forge().sequence(6).issued(noon() + Duration::from_secs(5)).forge();
    assert_eq!(judge(&held, &older).err(), Some(SnapshotFault::OlderSequence { found: 6, held: 7 }));
    let before = noon() - Duration::from_secs(1);
    let older = domain.forge().sequence(7).issued(before).forge();
    assert_eq!(judge(&held, &older).err(), Some(SnapshotFault::OlderIssue { found: before, held: noon() }));
}

#[test]
fn two_snapshots_of_one_second_and_number_that_differ_are_refused() {
    let domain = Domain::new();
    let held = after(&domain, domain.forge());
    let other = domain.forge().policy("version = 1\n# other\n").forge();
    assert_eq!(judge(&held, &other).err(), Some(SnapshotFault::Contradiction));
}

#[test]
fn a_snapshot_of_a_lower_epoch_is_refused() {
    let domain = Domain::new();
    let second = domain.root.trust_signer(2);
    let raised = SnapshotForge::new(&domain.root, &second).epoch(2).forge();
    let held = judge(&after(&domain, domain.forge().sequence(40)), &raised);
    let held = held.expect("a higher epoch begins anew").trusted().clone();
    let lower = domain.forge().sequence(41).issued(noon() + Duration::from_secs(9)).forge();
    assert_eq!(judge(&held, &lower).err(), Some(SnapshotFault::OlderEpoch { found: 1, held: 2 }));
}

#[test]
fn the_epoch_is_the_roots_to_raise_and_not_the_signers() {
    let domain = Domain::new();
    let claimed = domain.forge().epoch(2).forge();
    assert_eq!(refuse(&domain, &claimed), SnapshotFault::Epoch { found: 2, expected: 1 });
    let none = domain.root.trust_signer_with(1, |params| {
        params.custom_extensions.truncate(1);
    });
    let refused = refuse(&domain, &SnapshotForge::new(&domain.root, &none).forge());
    assert_eq!(refused, SnapshotFault::Signer(SignerFault::NoEpoch));
}

#[test]
fn a_snapshot_signed_by_a_workload_is_refused() {
    // Invariant 11.
    let domain = Domain::new();
    let workload = domain.issuer.leaf(PAYMENTS).forge();
    let forged = SnapshotForge::new(&domain.root, &workload).forge();
    assert_eq!(refuse(&domain, &forged), SnapshotFault::Signer(SignerFault::Purpose));
}

#[test]
fn a_snapshot_signed_by_an_issuer_is_refused() {
    // Invariant 11.
    let domain = Domain::new();
    let x5c = |authority: &Authority| {
        domain.forge().header("x5c", json!([base64(authority.certificate())])).signed_by(authority.key())
    };
    assert_eq!(refuse(&domain, &x5c(&domain.issuer)), SnapshotFault::Signer(SignerFault::Authority));
    assert_eq!(refuse(&domain, &x5c(&domain.root)), SnapshotFault::Signer(SignerFault::Authority));
    // With the genuine signer's certificate, and the issuer's pen.
    let forged = domain.forge().signed_by(domain.issuer.key());
    assert_eq!(refuse(&domain, &forged), SnapshotFault::Signature);
}

#[test]
fn a_trust_signer_minted_by_an_issuer_is_refused() {
    // Invariant 11: a stolen issuer cannot sign trust.
    let domain = Domain::new();
    let minted = domain.issuer.trust_signer(1);
    let forged = SnapshotForge::new(&domain.root, &minted).forge();
    assert_eq!(refuse(&domain, &forged), SnapshotFault::Signer(SignerFault::NotByRoot));
    let impostor = domain.root.impostor().trust_signer(1);
    let forged = SnapshotForge::new(&domain.root, &impostor).forge();
    assert_eq!(refuse(&domain, &forged), SnapshotFault::Signer(SignerFault::NotByRoot));
}

#[test]
fn a_trust_signer_may_be_nothing_else() {
    use countersign_testkit::{ExtendedKeyUsagePurpose as Purpose, KeyUsagePurpose};
    let domain = Domain::new();
    let refused = |signer: Forged| match refuse(&domain, &SnapshotForge::new(&domain.root, &signer).forge()) {
        SnapshotFault::Signer(fault) => fault,
        other => panic!("{other}"),
    };
    let purposes = domain.root.trust_signer_with(1, |params| {
        params.custom_extensions.remove(0);
        params.extended_key_usages = vec![Purpose::Other(vec![2, 25, 250_477_940, 1])];
    });
    assert_eq!(refused(purposes), SignerFault::Purpose, "not critical");
    let elsewhere = domain.root.leaf("spiffe://prod.example/countersign/ca").forge();
    assert_eq!(refused(elsewhere), SignerFault::Purpose);
    let usage = domain.root.trust_signer_with(1, |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    });
    assert_eq!(refused(usage), SignerFault::KeyUsage);
    let workload = domain.root.trust_signer_with(1, |params| {
        params.subject_alt_names.clear();
    });
    assert!(matches!(refused(workload), SignerFault::Name { .. }));
    let ended = domain.root.trust_signer_with(1, |params| {
        params.not_after = params.not_before + Duration::from_secs(59);
    });
    assert_eq!(refused(ended), SignerFault::NotInTime { issued: noon() });
    let broken = domain.root.trust_signer(1).with_leaf(mangle::truncated);
    assert!(matches!(refused(broken), SignerFault::Malformed { .. }));
    let broken = domain.root.trust_signer(1).with_broken_signature();
    assert_eq!(refused(broken), SignerFault::NotByRoot);
}

#[test]
fn a_trust_signer_is_judged_at_the_time_of_issue_and_not_later() {
    let domain = Domain::new();
    let forged = domain.forge().forge();
    let later = noon() + Duration::from_secs(100 * 86_400);
    let judged = domain.trusted().judge(forged.jws(), later, &provider());
    assert!(judged.is_ok(), "its signer has ended since");
}

#[test]
fn a_snapshot_for_another_trust_domain_is_refused() {
    let domain = Domain::new();
    let other = Authority::root("other.example");
    let signer = other.trust_signer(1);
    let foreign = SnapshotForge::new(&other, &signer).forge();
    assert!(matches!(refuse(&domain, &foreign), SnapshotFault::ForeignDomain { .. }));
    // Dressed up as ours, with their signer, and with our root's signature on a signer for them.
    let dressed = SnapshotForge::new(&domain.root, &signer).forge();
    assert!(matches!(refuse(&domain, &dressed), SnapshotFault::Signer(SignerFault::Name { .. })));
    let theirs = SnapshotForge::new(&other, &signer).member("trust_domain", json!("prod.example")).forge();
    assert!(matches!(
        refuse(&domain, &theirs),
        SnapshotFault::Roots(RootsFault::ForeignDomain { number: 1, .. })
    ));
    // A CA of the same name with other roots.
    let twin = Authority::root("prod.example");
    let signer = twin.trust_signer(1);
    let forged = SnapshotForge::new(&twin, &signer).forge();
    assert_eq!(refuse(&domain, &forged), SnapshotFault::Roots(RootsFault::Unanchored));
}

#[test]
fn a_root_added_by_the_issuer_is_refused() {
    // Invariant 11: a stolen issuer cannot add a root.
    let domain = Domain::new();
    let evil = Authority::root("prod.example");
    let first = roots_document(1, &[&domain.root], None, &[&domain.root]);
    let signers: [&[&Authority]; 3] = [&[&domain.issuer, &evil], &[&evil], &[]];
    for signers in signers {
        let added = roots_document(2, &[&domain.root, &evil], Some(&first), signers);
        let forged = domain.forge().roots(&[first.clone(), added]).forge();
        assert_eq!(
            refuse(&domain, &forged),
            SnapshotFault::Roots(RootsFault::NotByRoot { version: 2 }),
            "{signers:?}"
        );
    }
    let alone = roots_document(2, &[&evil], None, &[&evil]);
    assert_eq!(
        refuse(&domain, &domain.forge().roots(&[alone]).forge()),
        SnapshotFault::Roots(RootsFault::Unanchored)
    );
    // The old root signs for the new one, which does not know of it.
    let unknowing = roots_document(2, &[&domain.root, &evil], Some(&first), &[&domain.root]);
    assert_eq!(
        refuse(&domain, &domain.forge().roots(&[first.clone(), unknowing]).forge()),
        SnapshotFault::Roots(RootsFault::NotByNewRoot { version: 2 })
    );
    // An issuer as a root.
    let issuer = roots_document(2, &[&domain.issuer], Some(&first), &[&domain.root, &domain.issuer]);
    assert!(judge(&domain.trusted(), &domain.forge().roots(&[first, issuer]).forge()).is_err());
}

#[test]
fn roots_change_by_walking_and_an_old_root_signs_no_more() {
    let domain = Domain::new();
    let new = Authority::root("prod.example");
    let first = roots_document(1, &[&domain.root], None, &[&domain.root]);
    let second = roots_document(2, &[&domain.root, &new], Some(&first), &[&domain.root, &new]);
    let third = roots_document(3, &[&new], Some(&second), &[&new]);
    let documents = [first.clone(), second.clone(), third.clone()];

    let both = domain.forge().roots(&documents[..2]).forge();
    let held = judge(&domain.trusted(), &both).expect("both roots").trusted().clone();
    assert_eq!(held.roots_version(), Some(2));
    let signer = new.trust_signer(1);
    let rolled = SnapshotForge::new(&new, &signer).sequence(2).roots(&documents).forge();
    let held = judge(&held, &rolled).expect("the new root alone").trusted().clone();
    assert_eq!(held.roots_version(), Some(3));

    // Whoever begins with the bundle of any version gets to the same place.
    for bundle in [domain.root.bundle(), new.bundle()] {
        assert_eq!(judge(&Trusted::anchored(bundle), &rolled).expect("walked").trusted(), &held);
    }
    let old = domain.forge().sequence(3).roots(&documents).forge();
    assert_eq!(judge(&held, &old).err(), Some(SnapshotFault::Signer(SignerFault::NotByRoot)));
}

#[test]
fn an_older_or_other_roots_document_replayed_is_refused() {
    let domain = Domain::new();
    let new = Authority::root("prod.example");
    let first = roots_document(1, &[&domain.root], None, &[&domain.root]);
    let second = roots_document(2, &[&domain.root, &new], Some(&first), &[&domain.root, &new]);
    let held = domain.forge().roots(&[first.clone(), second.clone()]).forge();
    let held = judge(&domain.trusted(), &held).expect("a good snapshot").trusted().clone();
    let refused = |documents: &[serde_json::Value]| {
        let forged = domain.forge().sequence(2).roots(documents).forge();
        match judge(&held, &forged) {
            Err(SnapshotFault::Roots(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(std::slice::from_ref(&first)), RootsFault::Older { found: 1, held: 2 });
    assert_eq!(refused(&[]), RootsFault::Unanchored);
    let other = roots_document(2, &[&domain.root], Some(&first), &[&domain.root]);
    assert_eq!(refused(&[first.clone(), other]), RootsFault::Forked { version: 2 });
    let fourth = roots_document(4, &[&new], Some(&second), &[&new]);
    assert_eq!(refused(std::slice::from_ref(&fourth)), RootsFault::Gap { found: 4, before: 2 });
    assert_eq!(refused(&[second.clone(), fourth]), RootsFault::Gap { found: 4, before: 2 });
    let detached = roots_document(3, &[&new], Some(&first), &[&new]);
    assert_eq!(refused(&[second, detached]), RootsFault::Previous { version: 3 });
    let garbage = json!({ "payload": "e30", "signatures": [] });
    assert!(matches!(refused(&[garbage]), RootsFault::Malformed { number: 1, .. }));
}

#[test]
fn a_header_that_is_not_a_snapshots_is_refused() {
    let domain = Domain::new();
    let certificate = base64(domain.signer.leaf());
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("typ", json!("countersign-roots+jws")),
        ("crit", json!(["exp"])),
        ("jwk", json!({})),
        ("x5c", json!([])),
        ("x5c", json!([certificate, certificate])),
        ("x5c", json!(["*"])),
    ] {
        let refused = refuse(&domain, &domain.forge().header(name, value).forge());
        assert!(matches!(refused, SnapshotFault::Header { .. }), "{name}: {refused}");
    }
}

#[test]
fn a_snapshot_from_the_future_or_that_ends_before_it_begins_is_refused() {
    let domain = Domain::new();
    let by = Duration::from_secs(301);
    let forged = domain.forge().issued(noon() + by).forge();
    assert_eq!(refuse(&domain, &forged), SnapshotFault::FromTheFuture { by });
    let forged = domain.forge().member("expires", json!("2026-11-23T11:59:59Z")).forge();
    assert_eq!(refuse(&domain, &forged), SnapshotFault::Backwards);
}

#[test]
fn parts_are_what_the_snapshot_says_or_refused() {
    let domain = Domain::new();
    let forged = domain.forge().forge();
    let judged = domain.trusted().judge(forged.jws(), noon(), &provider()).expect("a good signature");
    for (sha256, octets) in forged.parts() {
        let mut parts = forged.parts().clone();
        parts.remove(sha256);
        let missing = judged.clone().complete(None, &parts, &provider()).err();
        assert_eq!(missing, Some(SnapshotFault::PartMissing { sha256: *sha256 }));
        for changed in [&[octets.as_slice(), b" "].concat(), &octets[1..], &mangle::truncated(octets)] {
            parts.insert(*sha256, changed.to_vec());
            let refused = judged.clone().complete(None, &parts, &provider());
            assert!(matches!(refused, Err(SnapshotFault::PartChanged { .. })));
        }
    }
    let huge = json!({ "sha256": "00".repeat(32), "size": 1_u64 << 40 });
    let refused = refuse(&domain, &domain.forge().member("policy", huge).forge());
    assert!(matches!(refused, SnapshotFault::TooLarge { .. }));
    let upper = json!({ "sha256": "AA".repeat(32), "size": 1 });
    let refused = refuse(&domain, &domain.forge().member("policy", upper).forge());
    assert!(matches!(refused, SnapshotFault::Malformed { .. }));
}

#[test]
fn parts_that_are_held_are_not_asked_for_again() {
    let domain = Domain::new();
    let first = judge(&domain.trusted(), &domain.forge().forge()).expect("a good snapshot");
    let end = noon() + Duration::from_secs(60);
    let next = domain.forge().sequence(2).revoke(&domain.issuer, "0abc", end).forge();
    let judged = first.trusted().judge(next.jws(), noon(), &provider()).expect("the next");
    let missing = judged.missing(Some(&first));
    assert_eq!(missing.len(), 1, "one chunk of revocations: {missing:?}");
    let sha256 = *missing[0].sha256();
    let parts = Parts::from([(sha256, next.parts()[&sha256].clone())]);
    let next = judged.complete(Some(&first), &parts, &provider()).expect("with what was held");
    assert_eq!((next.revoked_serials(), next.issuer_count()), (1, 1));
}

#[test]
fn a_listed_issuer_that_no_root_certified_is_refused() {
    let domain = Domain::new();
    let stranger = Authority::root("prod.example").issuer();
    let forged = domain.forge().issuer(&stranger).forge();
    let fault = IssuerFault::NotByRoot;
    assert_eq!(refuse(&domain, &forged), SnapshotFault::Issuer { number: 2, fault });
    let below = domain.issuer.issuer();
    assert!(matches!(refuse(&domain, &domain.forge().issuer(&below).forge()), SnapshotFault::Issuer { .. }));
}

#[test]
fn a_policy_that_cannot_be_read_keeps_no_revocation_away() {
    let domain = Domain::new();
    let forged = domain.forge().policy("version = 99").forge();
    let snapshot = judge(&domain.trusted(), &forged).expect("everything else counts");
    assert!(snapshot.policy().is_err_and(|why| why.contains("99")));
}

#[test]
fn one_file_carries_it_all() {
    let domain = Domain::new();
    let forged = domain.forge().forge();
    let file = SnapshotFile::read(&forged.file()).expect("the file form");
    assert_eq!((file.jws(), file.parts()), (forged.jws(), forged.parts()));
    for bad in [
        &b"{}"[..],
        br#"{"countersign_trust":2,"snapshot":"","parts":{}}"#,
        br#"{"countersign_trust":1,"snapshot":"","parts":{"00":""}}"#,
        &mangle::truncated(&forged.file()),
    ] {
        assert!(matches!(SnapshotFile::read(bad), Err(SnapshotFault::Malformed { .. })));
    }
}

#[test]
fn a_truncated_snapshot_is_refused_wherever_it_ends() {
    let domain = Domain::new();
    let forged = domain.forge().forge();
    for end in 0..forged.jws().len() {
        let refused = domain.trusted().judge(&forged.jws()[..end], noon(), &provider());
        assert!(refused.is_err(), "the first {end} octets");
    }
    let huge = vec![b'a'; (1 << 20) + 1];
    let refused = domain.trusted().judge(&huge, noon(), &provider()).expect_err("too large");
    assert!(matches!(refused, SnapshotFault::TooLarge { .. }));
}

thread_local! {
    static DOMAIN: (&'static Domain, ForgedSnapshot) = {
        let domain: &Domain = Box::leak(Box::new(Domain::new()));
        (domain, domain.forge().forge())
    };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_changed_octet_of_a_snapshot_is_refused_without_a_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let (domain, forged) = DOMAIN.with(Clone::clone);
        let trusted = domain.trusted();
        let mut octets = forged.jws().to_vec();
        let at = at.index(octets.len());
        prop_assume!(octets[at] != to);
        octets[at] = to;
        prop_assert!(trusted.judge(&octets, noon(), &provider()).is_err());
    }

    #[test]
    fn any_octets_are_no_snapshot(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let trusted = DOMAIN.with(|(domain, _)| domain.trusted());
        prop_assert!(trusted.judge(&octets, noon(), &provider()).is_err());
        prop_assert!(SnapshotFile::read(&octets).is_err());
    }

    #[test]
    fn a_part_in_disorder_is_refused_without_a_panic(octets in "[\\[\\]{}\",:0-9a-z]{0,80}") {
        let (domain, forged) = DOMAIN.with(Clone::clone);
        let reference = |octets: &[u8]| {
            use sha2::Digest as _;
            let sha256: [u8; 32] = sha2::Sha256::digest(octets).into();
            (sha256, json!({ "sha256": countersign_identity::hex::encode(&sha256), "size": octets.len() }))
        };
        let (sha256, part) = reference(octets.as_bytes());
        for forged_part in [domain.forge().member("issuers", part.clone()), domain.forge().member("revoked", json!([part]))] {
            let mut parts = forged.parts().clone();
            parts.insert(sha256, octets.clone().into_bytes());
            let forged = forged_part.forge();
            let judged = domain.trusted().judge(forged.jws(), noon(), &provider()).expect("well signed");
            // Whatever it makes of it, it does not panic.
            let _ = judged.complete(None, &parts, &provider());
        }
    }
}

fn base64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

//! Revocation lists that would hide a revocation, or invent one (RECIPES, traps 2 and 3).

use std::sync::Arc;
use std::time::Duration;

use countersign_testkit::{Authority, Forged, KeyUsagePurpose, noon};
use countersign_verifier::{
    ArcSwap, ChainFault, CrlFault, CrlStore, LeftOut, Refusal, Revocation as _, Usage, VerifiedPeer,
    crls_from_pem, provider,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::lists::{DELTA, ListForge, NUMBER, POINT, entry, place};
use crate::resigned::{INTEGER, SEQUENCE, ce, der, extension, inside, resigned, signed, with};
use crate::world::{PAYMENTS, World};

const SERIAL: [u8; 18] = [0x22; 18];
const OTHER: [u8; 18] = [0x33; 18];

/// The world, and a leaf with the serial number in question.
struct Revoked {
    world: World,
    leaf: Forged,
}

impl Revoked {
    fn new() -> Self {
        let world = World::new();
        let leaf = world.issuer.leaf(PAYMENTS).serial(&SERIAL).forge();
        Self { world, leaf }
    }

    fn list(&self, number: u8, serials: &[&[u8]]) -> ListForge<'_> {
        ListForge::new(&self.world.issuer, number, serials)
    }

    fn load(&self, lists: &[CertificateRevocationListDer<'_>]) -> (CrlStore, Vec<LeftOut>) {
        let issuers = [self.world.issuer.certificate().clone(), self.world.root.certificate().clone()];
        CrlStore::load(lists, &issuers, &provider(), noon())
    }

    fn judge(&self, store: CrlStore, chain: &[CertificateDer<'_>]) -> Result<VerifiedPeer, Refusal> {
        self.world.verifier().with_revocation(Arc::new(store)).verify(chain, Usage::Client)
    }

    /// The verdict on the leaf, when all lists were taken.
    fn verdict(&self, lists: &[CertificateRevocationListDer<'_>]) -> Result<VerifiedPeer, Refusal> {
        self.judge(self.load(lists).0, &self.leaf.chain())
    }

    fn is_revoked(&self, lists: &[CertificateRevocationListDer<'_>]) -> bool {
        match self.verdict(lists) {
            Ok(_) => false,
            Err(Refusal::Revoked { .. }) => true,
            Err(other) => panic!("expected revoked or good, found {other}"),
        }
    }

    /// Why a list is left out; an issuer's other list counts all the same.
    fn fault(&self, list: ListForge<'_>) -> CrlFault {
        let good = self.list(1, &[&SERIAL]).forge();
        let (store, mut left_out) = self.load(&[list.forge(), good]);
        assert!(matches!(self.judge(store, &self.leaf.chain()), Err(Refusal::Revoked { .. })));
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        let one = left_out.remove(0);
        assert_eq!(one.number, 1);
        one.fault
    }
}

#[test]
fn a_listed_certificate_is_revoked_and_one_beside_it_is_not() {
    let revoked = Revoked::new();
    assert!(revoked.is_revoked(&[revoked.list(1, &[&OTHER, &SERIAL]).forge()]));
    assert!(!revoked.is_revoked(&[revoked.list(1, &[&OTHER]).forge()]));
    assert!(!revoked.is_revoked(&[revoked.list(1, &[]).forge()]));
}

#[test]
fn an_older_list_hides_nothing_that_the_newer_one_lists() {
    // rustls/webpki#526: the first that matches is the only one asked.
    let revoked = Revoked::new();
    let (old, new) = (revoked.list(1, &[]).forge(), revoked.list(2, &[&SERIAL]).forge());
    assert!(revoked.is_revoked(&[old.clone(), new.clone()]));
    assert!(revoked.is_revoked(&[new, old]));
}

#[test]
fn the_newest_list_alone_counts_for_who_was_taken_off() {
    let revoked = Revoked::new();
    let lists = [revoked.list(9, &[&SERIAL]).forge(), revoked.list(10, &[&OTHER]).forge()];
    assert!(!revoked.is_revoked(&lists));
    let (store, left_out) = revoked.load(&lists);
    assert_eq!(store.len(), 1);
    assert_eq!(left_out, [LeftOut { number: 1, fault: CrlFault::Superseded }]);
}

#[test]
fn the_number_decides_and_not_the_time() {
    let revoked = Revoked::new();
    let earlier = noon() - Duration::from_secs(3000);
    let newer = revoked.list(2, &[&SERIAL]).at(earlier, Some(noon())).forge();
    assert!(revoked.is_revoked(&[newer, revoked.list(1, &[]).forge()]));
}

#[test]
fn a_shard_does_not_absolve_who_another_shard_lists() {
    let revoked = Revoked::new();
    let [first, second] = ["http://ca/1.crl", "http://ca/2.crl"].map(place);
    let empty = revoked.list(5, &[]).only(&first).forge();
    let full = revoked.list(1, &[&SERIAL]).only(&second).forge();
    let named = |place: &[u8]| {
        revoked.leaf.chain().into_iter().next().map(|leaf| {
            let points = der(SEQUENCE, &[&der(SEQUENCE, &[place])]);
            resigned(&leaf, revoked.world.issuer.key(), |fields| with(fields, &ce(31), false, &points))
        })
    };
    let judge = |leaf: Option<Vec<u8>>, required: bool| {
        let (store, left_out) = revoked.load(&[empty.clone(), full.clone()]);
        assert_eq!(left_out, []);
        let store = if required { store.required() } else { store };
        revoked.judge(store, &[leaf.expect("a leaf").into(), revoked.world.issuer.certificate().clone()])
    };
    assert!(matches!(judge(named(&second), false), Err(Refusal::Revoked { .. })));
    assert!(judge(named(&first), false).is_ok());
    // A shard says nothing about certificates that name another place, or none.
    let plain = || Some(revoked.leaf.leaf().to_vec());
    for leaf in [named(&place("http://ca/3.crl")), plain()] {
        assert!(judge(leaf.clone(), false).is_ok());
        assert!(matches!(
            judge(leaf, true),
            Err(Refusal::Chain { fault: ChainFault::RevocationUnknown { .. }, .. })
        ));
    }
}

#[test]
fn a_list_for_authorities_only_says_nothing_about_leaves() {
    let revoked = Revoked::new();
    let lists = [revoked.list(7, &[]).only(&[0x82, 1, 0xff]).forge(), revoked.list(1, &[&SERIAL]).forge()];
    assert!(revoked.is_revoked(&lists));
    assert!(!revoked.is_revoked(&[revoked.list(7, &[&SERIAL]).only(&[0x82, 1, 0xff]).forge()]));
    assert!(revoked.is_revoked(&[revoked.list(7, &[&SERIAL]).only(&[0x81, 1, 0xff]).forge()]));
}

#[test]
fn a_list_for_some_reasons_only_absolves_nobody() {
    let revoked = Revoked::new();
    // keyCompromise; everything else.
    let some: &[u8] = &[0x83, 2, 6, 0x40];
    let rest: &[u8] = &[0x83, 3, 7, 0x3f, 0x80];
    let clean = revoked.list(9, &[]).only(some).forge();
    assert!(revoked.is_revoked(&[clean.clone(), revoked.list(1, &[&SERIAL]).forge()]));
    assert!(revoked.is_revoked(&[revoked.list(1, &[&SERIAL]).only(some).forge()]));
    let unknown = |lists: &[CertificateRevocationListDer<'_>]| {
        let store = revoked.load(lists).0.required();
        matches!(
            revoked.judge(store, &[revoked.leaf.leaf().clone(), revoked.world.issuer.certificate().clone()]),
            Err(Refusal::Chain { fault: ChainFault::RevocationUnknown { .. }, .. })
        )
    };
    let root = ListForge::new(&revoked.world.root, 1, &[]).forge();
    assert!(unknown(&[clean.clone(), root.clone()]));
    assert!(!unknown(&[clean, revoked.list(1, &[]).only(rest).forge(), root]));
}

#[test]
fn indirect_and_delta_lists_are_left_out_and_harm_no_other() {
    let revoked = Revoked::new();
    assert_eq!(revoked.fault(revoked.list(9, &[]).only(&[0x84, 1, 0xff])), CrlFault::Indirect);
    let elsewhere = extension(&ce(29), true, &der(SEQUENCE, &[&der(0x82, &[b"a"])]));
    assert_eq!(revoked.fault(revoked.list(9, &[]).entry(entry(&OTHER, &[elsewhere]))), CrlFault::Indirect);
    assert_eq!(revoked.fault(revoked.list(9, &[]).with(DELTA, true, &[INTEGER, 1, 1])), CrlFault::Delta);
    let attributes = revoked.list(9, &[]).only(&[0x85, 1, 0xff]);
    assert_eq!(revoked.fault(attributes), CrlFault::AttributeCertificates);
}

#[test]
fn a_list_that_is_not_understood_is_left_out_and_harms_no_other() {
    let revoked = Revoked::new();
    let unknown = CrlFault::UnknownCritical { oid: "2.5.29.99".to_owned() };
    assert_eq!(revoked.fault(revoked.list(9, &[]).with(99, true, &[5, 0])), unknown);
    let strange = entry(&OTHER, &[extension(&ce(99), true, &[5, 0])]);
    assert_eq!(revoked.fault(revoked.list(9, &[]).entry(strange)), unknown);
    assert_eq!(
        revoked.fault(revoked.list(9, &[]).without_number().with(99, false, &[5, 0])),
        CrlFault::NoNumber
    );
    let critical = revoked.list(9, &[]).without_number().with(NUMBER, true, &[INTEGER, 1, 9]);
    assert_eq!(revoked.fault(critical), CrlFault::NoNumber);
    assert_eq!(revoked.fault(revoked.list(9, &[]).at(noon(), None)), CrlFault::NoNextUpdate);
    for broken in [
        revoked.list(9, &[]).entry(vec![SEQUENCE, 0]),
        revoked.list(9, &[]).entry(vec![5, 0]),
        revoked.list(9, &[]).only(&[]).with(POINT, true, &[SEQUENCE, 0]),
        revoked.list(9, &[]).only(&[0x81, 1, 0xff, 0x82, 1, 0xff]),
        revoked.list(9, &[]).without_number().with(NUMBER, false, &[INTEGER, 1, 0x80]),
    ] {
        assert!(matches!(revoked.fault(broken), CrlFault::Malformed { .. }));
    }
    let (store, left_out) = revoked.load(&[CertificateRevocationListDer::from(b"garbage".to_vec())]);
    assert!(store.is_empty());
    assert!(
        matches!(left_out[..], [LeftOut { fault: CrlFault::Malformed { .. }, number: 1 }]),
        "{left_out:?}"
    );
}

#[test]
fn no_cut_or_changed_octet_of_a_list_panics_or_is_believed() {
    let revoked = Revoked::new();
    let list = revoked.list(1, &[&SERIAL]).only(&place("http://ca/1.crl")).forge().to_vec();
    for at in 0..list.len() {
        let mut changed = list.clone();
        changed[at] ^= 0x81;
        for broken in [changed, list[..at].to_vec()] {
            let (store, left_out) = revoked.load(&[broken.into()]);
            assert!(store.is_empty() && left_out.len() == 1, "octet {at}");
        }
    }
}

#[test]
fn a_list_by_the_wrong_signer_neither_revokes_nor_absolves() {
    let revoked = Revoked::new();
    let (issuer, root) = (&revoked.world.issuer, &revoked.world.root);
    // Of another name; of our issuer's name and another key.
    let stranger = Authority::root("prod.example");
    assert_eq!(revoked.fault(ListForge::new(&stranger, 9, &[])), CrlFault::UnknownIssuer);
    let list = ListForge::new(&stranger, 9, &[]).forge();
    let mut fields = inside(&inside(&list)[0]);
    fields[2] = inside(&inside(issuer.certificate())[0])[5].clone();
    let parts = inside(&list);
    let forged = signed(&der(SEQUENCE, &[&fields.concat()]), &parts[1], stranger.key());
    let (store, left_out) = revoked.load(&[forged.into(), revoked.list(1, &[&SERIAL]).forge()]);
    assert_eq!(left_out, [LeftOut { number: 1, fault: CrlFault::Signature }]);
    assert_eq!(store.len(), 1);
    // A good list of the root speaks for what the root signed, and for nothing else.
    assert!(!revoked.is_revoked(&[ListForge::new(root, 1, &[&SERIAL]).forge()]));
}

#[test]
fn an_issuer_of_the_same_name_with_another_key_speaks_for_its_own_certificates_only() {
    let revoked = Revoked::new();
    let impostor = revoked.world.issuer.impostor();
    let issuers = [impostor.certificate().clone(), revoked.world.issuer.certificate().clone()];
    let lists = [ListForge::new(&impostor, 99, &[&SERIAL]).forge(), revoked.list(1, &[&OTHER]).forge()];
    let (store, left_out) = CrlStore::load(&lists, &issuers, &provider(), noon());
    assert_eq!(left_out, []);
    assert!(revoked.judge(store.clone(), &revoked.leaf.chain()).is_ok());
    let other = revoked.world.issuer.leaf(PAYMENTS).serial(&OTHER).forge();
    assert!(matches!(revoked.judge(store, &other.chain()), Err(Refusal::Revoked { .. })));
}

#[test]
fn an_issuer_that_may_not_sign_lists_is_not_believed() {
    let world = World::new();
    let issuer = world.root.issuer_with(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let lists = [ListForge::new(&issuer, 1, &[]).forge()];
    let (store, left_out) = CrlStore::load(&lists, &[issuer.certificate().clone()], &provider(), noon());
    assert_eq!(left_out, [LeftOut { number: 1, fault: CrlFault::MayNotSign }]);
    assert!(store.is_empty());
}

#[test]
fn a_list_from_the_future_is_left_out() {
    let revoked = Revoked::new();
    let at = noon() + Duration::from_secs(1);
    let fault = revoked.fault(revoked.list(9, &[]).at(at, Some(at)));
    assert_eq!(fault, CrlFault::NotYetValid { this_update: at });
}

#[test]
fn a_stale_list_still_revokes_and_vouches_for_nobody() {
    let revoked = Revoked::new();
    let past = Some(noon() - Duration::from_secs(1));
    let stale = |serial: &[u8]| revoked.list(1, &[serial]).at(noon() - Duration::from_secs(60), past).forge();
    assert!(revoked.is_revoked(&[stale(&SERIAL)]));
    assert!(!revoked.is_revoked(&[stale(&OTHER)]));
    let (store, left_out) =
        revoked.load(&[stale(&OTHER), ListForge::new(&revoked.world.root, 1, &[]).forge()]);
    assert_eq!(left_out, []);
    assert_eq!(store.next_update(), past);
    let refused = revoked.judge(store.required(), &revoked.leaf.chain());
    assert!(
        matches!(&refused, Err(Refusal::Chain { fault: ChainFault::RevocationUnknown { .. }, .. })),
        "{refused:?}"
    );
}

#[test]
fn where_lists_are_required_every_certificate_needs_one() {
    let revoked = Revoked::new();
    let leafs = revoked.list(1, &[]).forge();
    let roots = ListForge::new(&revoked.world.root, 1, &[]).forge();
    let judge = |lists: &[CertificateRevocationListDer<'_>]| {
        revoked.judge(revoked.load(lists).0.required(), &revoked.leaf.chain())
    };
    assert!(judge(&[leafs.clone(), roots.clone()]).is_ok());
    for missing in [&[leafs][..], &[roots], &[]] {
        let refusal = judge(missing).expect_err("one is missing");
        assert_eq!(refusal.code(), "certificate_chain_invalid", "{refusal}");
    }
}

#[test]
fn nothing_a_revoked_issuer_signed_is_accepted() {
    let revoked = Revoked::new();
    let issuer = inside(&inside(revoked.world.issuer.certificate())[0])[1][2..].to_vec();
    let list = ListForge::new(&revoked.world.root, 1, &[&issuer]).forge();
    let refusal = revoked.verdict(&[list]).expect_err("its issuer is revoked");
    assert!(matches!(refusal, Refusal::Chain { fault: ChainFault::Revoked { .. }, .. }), "{refusal}");
}

#[test]
fn a_serial_number_is_the_same_however_it_is_padded_and_never_another() {
    let world = World::new();
    let list = |serial: &[u8]| [ListForge::new(&world.issuer, 1, &[serial]).forge()];
    let leaf = |serial: &[u8]| {
        let forged = world.issuer.leaf(PAYMENTS).forge();
        forged.with_leaf(|leaf| {
            resigned(leaf, world.issuer.key(), |fields| fields[1] = der(INTEGER, &[serial]))
        })
    };
    let judge = |listed: &[u8], serial: &[u8]| {
        let issuers = [world.issuer.certificate().clone()];
        let (store, left_out) = CrlStore::load(&list(listed), &issuers, &provider(), noon());
        assert_eq!(left_out, []);
        world.verifier().with_revocation(Arc::new(store)).verify(&leaf(serial).chain(), Usage::Client)
    };
    assert!(judge(&[0, 0xff], &[0, 0xff]).is_err());
    // -1 is not 255, and neither is 2^159 and more, which fits into no certificate.
    assert!(judge(&[0xff], &[0, 0xff]).is_ok());
    let long = [&[0][..], &[0xff; 20]].concat();
    assert!(judge(&long, &[0, 0xff]).is_ok());
    assert!(judge(&[7; 20], &[7; 20]).is_err());
}

#[test]
fn lists_are_replaced_while_the_verifier_asks() {
    let revoked = Revoked::new();
    let held = Arc::new(ArcSwap::from_pointee(revoked.load(&[revoked.list(1, &[]).forge()]).0));
    let verifier = revoked.world.verifier().with_revocation(Arc::clone(&held) as _);
    assert!(verifier.verify(&revoked.leaf.chain(), Usage::Client).is_ok());
    held.store(Arc::new(revoked.load(&[revoked.list(2, &[&SERIAL]).forge()]).0));
    assert!(matches!(verifier.verify(&revoked.leaf.chain(), Usage::Client), Err(Refusal::Revoked { .. })));
}

#[test]
fn a_peer_let_in_before_is_known_again_as_revoked() {
    let revoked = Revoked::new();
    let peer = revoked.verdict(&[]).expect("nothing is held against it");
    assert!(!revoked.load(&[revoked.list(1, &[&OTHER]).forge()]).0.is_revoked(&peer));
    assert!(revoked.load(&[revoked.list(2, &[&SERIAL]).forge()]).0.is_revoked(&peer));
    let authorities = revoked.list(2, &[&SERIAL]).only(&[0x82, 1, 0xff]).forge();
    assert!(!revoked.load(&[authorities]).0.is_revoked(&peer));
}

#[test]
fn a_hundred_thousand_serials_are_found_again() {
    let revoked = Revoked::new();
    let serials: Vec<[u8; 18]> = (0..100_000_u32)
        .map(|at| {
            let mut serial = [0x11; 18];
            serial[14..].copy_from_slice(&at.wrapping_mul(0x9e37_79b1).to_be_bytes());
            serial
        })
        .collect();
    let borrowed: Vec<&[u8]> = serials.iter().map(<[u8; 18]>::as_slice).chain([&SERIAL[..]]).collect();
    let (store, left_out) = revoked.load(&[revoked.list(1, &borrowed).forge()]);
    assert_eq!(left_out, []);
    assert_eq!(store.len(), 100_001);
    assert!(store.heap_octets() <= 8_000_000, "{}", store.heap_octets());
    assert!(matches!(revoked.judge(store, &revoked.leaf.chain()), Err(Refusal::Revoked { .. })));
}

#[test]
fn lists_are_read_from_pem() {
    let none = crls_from_pem(b"nothing here").expect("no armour, no list");
    assert_eq!(none, []);
    assert!(crls_from_pem(b"-----BEGIN X509 CRL-----\n*\n-----END X509 CRL-----\n").is_err());
}

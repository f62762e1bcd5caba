//! The live set: what it knows needs no path, and what only resembles it gains nothing.

use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{KeyHash, Serial};
use countersign_testkit::{Authority, Forged, noon};
use countersign_verifier::{LiveSet, Refusal, Usage, VerifiedPeer};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::world::{PAYMENTS, World};

/// Remembers one certificate.
#[derive(Debug)]
struct Remembered {
    serial: Serial,
    tbs_sha256: [u8; 32],
}

impl Remembered {
    fn of(leaf: &CertificateDer<'_>) -> Arc<Self> {
        let (_, parsed) = X509Certificate::from_der(leaf).expect("a certificate");
        Arc::new(Self {
            serial: Serial::from_be_bytes(parsed.raw_serial()).expect("a serial"),
            tbs_sha256: Sha256::digest(parsed.tbs_certificate.as_ref()).into(),
        })
    }
}

impl LiveSet for Remembered {
    fn signed_here(&self, serial: Serial, tbs_sha256: &[u8; 32]) -> Option<KeyHash> {
        (self.serial == serial && self.tbs_sha256 == *tbs_sha256).then(|| KeyHash::from_bytes([7; 32]))
    }
}

fn verify(world: &World, remembered: &Forged, presented: &Forged) -> Result<VerifiedPeer, Refusal> {
    let verifier = world.verifier().with_live_set(Remembered::of(remembered.leaf()));
    verifier.verify(&presented.chain(), Usage::Client)
}

#[test]
fn a_certificate_the_set_knows_needs_no_path() {
    let world = World::new();
    let elsewhere = Authority::root("prod.example").leaf(PAYMENTS).forge();
    assert!(matches!(world.refuse(&elsewhere), Refusal::UnknownIssuer { .. }));
    let peer = verify(&world, &elsewhere, &elsewhere).expect("it is remembered");
    assert_eq!(peer.issuer_key(), KeyHash::from_bytes([7; 32]));
}

#[test]
fn the_serial_of_a_known_certificate_on_another_proves_nothing() {
    let world = World::new();
    let serial = [5; 18];
    let known = world.issuer.leaf(PAYMENTS).serial(&serial).forge();
    let forged = Authority::root("prod.example").leaf(PAYMENTS).serial(&serial).forge();
    assert!(matches!(verify(&world, &known, &forged), Err(Refusal::UnknownIssuer { .. })));
}

#[test]
fn a_certificate_the_set_does_not_know_goes_by_path() {
    let world = World::new();
    let known = world.issuer.leaf(PAYMENTS).forge();
    let other = world.issuer.leaf(PAYMENTS).forge();
    assert!(verify(&world, &known, &other).is_ok());
    assert!(verify(&world, &known, &other.with_broken_signature()).is_err());
}

#[test]
fn a_known_certificate_still_obeys_time_and_the_rules_for_leaves() {
    let world = World::new();
    let late = world.issuer.leaf(PAYMENTS).ends(noon() - Duration::from_secs(1)).forge();
    assert!(matches!(verify(&world, &late, &late), Err(Refusal::Expired { .. })));
    let authority = world.issuer.leaf(PAYMENTS).ca().forge();
    assert!(matches!(verify(&world, &authority, &authority), Err(Refusal::LeafRule { .. })));
}

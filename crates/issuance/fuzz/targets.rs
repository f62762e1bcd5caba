//! What must hold of any octets that come to the corridor, by request or from an operator's files.

use std::time::Duration;

use countersign_identity::{Lineage, Serial, Timestamp, TrustDomain, Validity};
use countersign_issuance::{
    BACKDATE, Csr, DnsName, House, IssuerCertificate, KeyKind, LIFETIMES, MAX_CERTIFICATE, MAX_CSR,
    MAX_RECOVERY, Machines, Profile, ProvenKey, Registration, ReservedNames, Tokens, approve,
};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);
const ISSUER: &[u8] = include_bytes!("fixtures/issuer.der");

/// A request. Its signature counts as good here, so that what lies behind that check is reached: whatever is approved
/// then becomes a certificate that passes the judge, and holds nothing of the request but its key.
pub fn csr(octets: &[u8]) {
    if Csr::read(octets).is_ok() {
        assert!(octets.len() <= MAX_CSR);
    }
    let Ok(key) = ProvenKey::from_csr(octets, &ANY_SIGNATURE) else { return };
    assert!(octets.windows(key.spki().len()).any(|part| part == key.spki()), "the key stands in the request");
    let issuer = IssuerCertificate::parse(ISSUER).expect("the fixture is an issuer");
    issue(key, &issuer);
}

/// A certificate in the role of an issuer, as an operator may bring one.
pub fn issuer(octets: &[u8]) {
    let Ok(issuer) = IssuerCertificate::parse(octets) else { return };
    assert_eq!(issuer.der(), octets);
    assert!(!issuer.subject_key_id().is_empty());
    // A key of another certificate, so that nothing but the issuer is strange.
    let request = include_bytes!("fixtures/request.der");
    issue(ProvenKey::from_csr(request, &ANY_SIGNATURE).expect("the fixture is a request"), &issuer);
}

/// A profile: what is accepted keeps the limits, and its renewal window lies within every life.
pub fn profile(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Ok(name) = text.trim().parse::<DnsName>() {
        assert!(name.as_str().len() <= 253);
    }
    let Ok(profile) = Profile::parse("workload", text) else { return };
    assert!(LIFETIMES.contains(&profile.lifetime()) && profile.recovery() <= MAX_RECOVERY);
    assert!(!profile.key_kinds().is_empty());
    let window = profile.renew();
    assert!(0.0 < window.from && window.from < window.to && window.to < 1.0);
    let validity = Validity::lasting(NOON - BACKDATE, profile.lifetime() + BACKDATE);
    let (from, to) = profile.renewal_window(&validity);
    assert!(NOON <= from && from <= to && to <= validity.not_after());
}

fn issue(key: ProvenKey, issuer: &IssuerCertificate) {
    let trust_domain: TrustDomain = "prod.example".parse().expect("a trust domain");
    let registration = registration(&trust_domain);
    let kinds = "lifetime = \"1h\"\nkey_kinds = [\"p256\", \"p384\", \"ed25519\"]";
    let profile = Profile::parse("workload", kinds).expect("a profile");
    let reserved = ReservedNames::default();
    let house = House { trust_domain: &trust_domain, issuer, ca_keys: &[], reserved: &reserved };
    let spki = key.spki().to_vec();
    let Ok(approved) = approve(key, &registration, &profile, &house, NOON) else { return };
    assert!(approved.validity().not_after() <= issuer.validity().not_after(), "invariant 4");
    assert!(approved.validity().lifetime() <= Duration::from_secs(3600) + BACKDATE);
    let (serial, lineage) = (Serial::from_random([2; 18]), Lineage::from_random([3; 16]));
    // An issuer that others made may have what no leaf can follow; the judge then refuses, and nothing is signed.
    let Ok(prepared) = approved.prepare(serial, lineage, &house) else {
        assert_ne!(issuer.der(), ISSUER, "what is approved under our own issuer can be written");
        return;
    };
    assert!(prepared.tbs().len() <= MAX_CERTIFICATE);
    assert!(prepared.tbs().windows(spki.len()).any(|part| part == spki));
    assert_eq!(prepared.spiffe_id(), &registration.id);
}

fn registration(trust_domain: &TrustDomain) -> Registration {
    Registration {
        id: trust_domain.with_path("/payments/api").expect("a SPIFFE ID"),
        profile: "workload".to_owned(),
        dns: vec!["api.prod.example".parse().expect("a DNS name")],
        ip: vec!["10.0.0.7".parse().expect("an address")],
        until: None,
        owner: None,
        machines: Machines::One,
        token_keys: Vec::new(),
        tokens: Tokens::Bound,
        shared: false,
        parent: None,
        selectors: vec![],
        created: NOON,
    }
}

/// Finds every signature good that its kind of key could have made.
#[derive(Debug)]
struct AnySignature(KeyKind);

static ANY_SIGNATURE: [&dyn SignatureVerificationAlgorithm; 3] =
    [&AnySignature(KeyKind::P256), &AnySignature(KeyKind::P384), &AnySignature(KeyKind::Ed25519)];

impl SignatureVerificationAlgorithm for AnySignature {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            KeyKind::P256 => alg_id::ECDSA_P256,
            KeyKind::P384 => alg_id::ECDSA_P384,
            KeyKind::Ed25519 => alg_id::ED25519,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            KeyKind::P256 => alg_id::ECDSA_SHA256,
            KeyKind::P384 => alg_id::ECDSA_SHA384,
            KeyKind::Ed25519 => alg_id::ED25519,
        }
    }
}

//! Certificate requests that must not become certificates.

use countersign_testkit::{csr, mangle};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::{
    ca::{Ca, TRUST_DOMAIN, id},
    machine::{Machine, enroll},
};

/// A CA with an invitation that a refused request does not use up.
struct House {
    ca: Ca,
    invitation: String,
}

impl House {
    fn new() -> Self {
        let ca = Ca::start();
        let invitation = ca.invite("/payments", &["--dns", "pay.example"]);
        Self { ca, invitation }
    }

    /// The request is refused at enrollment, and the invitation still takes an honest one.
    #[track_caller]
    fn refuses(&self, request: &[u8], status: u16, code: &str) -> String {
        let problem = enroll(&self.ca, &self.invitation, request).refused(status, code);
        assert!(!problem.detail.contains("csinv1_"));
        problem.detail
    }

    fn still_enrolls(&self) {
        let key = csr::p256();
        Machine::from(&enroll(&self.ca, &self.invitation, &csr::plain(&key)), key);
        let issued = self.ca.json(&["issued", "list", "--spiffe-id", &id("/payments")]);
        assert_eq!(
            issued.as_array().unwrap().len(),
            1,
            "nothing but the honest request was recorded: {issued}"
        );
    }
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let house = House::new();
    let broken = mangle::broken_signature(&csr::plain(&csr::p256()));
    house.refuses(&broken, 400, "csr_signature_bad");
    house.still_enrolls();
}

#[test]
fn weak_and_foreign_keys_are_refused_and_named() {
    let house = House::new();
    let rsa = house.refuses(&csr::rsa_1024(), 400, "csr_key_unsupported");
    assert!(rsa.contains("RSA"), "{rsa}");
    house.refuses(&csr::rsa_2048(), 400, "csr_key_unsupported");
    house.refuses(&csr::p521(), 400, "csr_key_unsupported");
    house.refuses(&csr::secp256k1(), 400, "csr_key_unsupported");
    house.still_enrolls();
}

#[test]
fn a_good_key_of_a_kind_the_profile_does_not_take_is_refused() {
    let house = House::new();
    for key in [csr::p384(), csr::ed25519()] {
        let detail = house.refuses(&csr::plain(&key), 403, "key_kind_refused");
        assert!(detail.contains("p256"), "{detail}");
    }
    house.still_enrolls();
}

#[test]
fn a_request_with_trailing_bytes_is_refused() {
    let house = House::new();
    let longer = mangle::trailing_bytes(&csr::plain(&csr::p256()));
    house.refuses(&longer, 400, "csr_malformed");
    house.still_enrolls();
}

#[test]
fn a_request_in_ber_that_is_not_der_is_refused() {
    let house = House::new();
    let longer = mangle::non_minimal_length(&csr::plain(&csr::p256()));
    house.refuses(&longer, 400, "csr_malformed");
    house.still_enrolls();
}

#[test]
fn a_truncated_or_deeply_nested_request_is_refused() {
    let house = House::new();
    house.refuses(&mangle::truncated(&csr::plain(&csr::p256())), 400, "csr_malformed");
    house.refuses(&mangle::nested(1000), 400, "csr_malformed");
    house.refuses(b"", 400, "csr_malformed");
    house.still_enrolls();
}

#[test]
fn a_request_larger_than_any_honest_one_is_refused() {
    let house = House::new();
    let names: Vec<String> = (0..1000).map(|n| format!("name-{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let large = csr::with_names(&csr::p256(), &[], &names);
    house.refuses(&large, 413, "csr_too_large");
    house.still_enrolls();
}

#[test]
fn a_request_for_another_identity_is_refused() {
    let house = House::new();
    let key = csr::p256();
    for uri in [id("/admin"), id("/payments/more"), id(""), "spiffe://other.example/payments".into()] {
        let detail = house.refuses(&csr::with_names(&key, &[&uri], &[]), 403, "csr_names_refused");
        assert!(detail.contains(&uri), "{detail}");
    }
    house.refuses(&csr::with_names(&key, &[&id("/payments"), &id("/admin")], &[]), 403, "csr_names_refused");
    house.refuses(&csr::with_names(&key, &[], &["admin.example"]), 403, "csr_names_refused");
    house.still_enrolls();
}

#[test]
fn a_request_to_become_a_ca_is_refused() {
    let house = House::new();
    let detail = house.refuses(&csr::for_a_ca(&csr::p256()), 403, "csr_names_refused");
    assert!(detail.contains("the extension 2.5.29."), "an extension is named: {detail}");
    house.still_enrolls();
}

#[test]
fn a_renewal_gets_no_other_name_than_the_one_before() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let request = csr::with_names(&csr::p256(), &[&id("/admin")], &[]);
    machine.renew_with(&ca, &request).refused(403, "csr_names_refused");
    machine.renew_with(&ca, &csr::for_a_ca(&csr::p256())).refused(403, "csr_names_refused");
    machine.renewed(&ca);
}

/// Invariant 1: a subject asked for does not appear, names come from the registration.
#[test]
fn nothing_but_the_key_of_a_request_reaches_the_certificate() {
    let house = House::new();
    let key = csr::p256();
    let answer = enroll(&house.ca, &house.invitation, &csr::with_subject(&key, "root of all"));
    let machine = Machine::from(&answer, key);
    let (_, certificate) = X509Certificate::from_der(machine.leaf()).unwrap();
    let subject = certificate.subject().to_string();
    assert!(subject.contains("l-") && !subject.contains("root of all"), "{subject}");
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let expected = format!("spiffe://{TRUST_DOMAIN}/payments");
    assert_eq!(names.value.general_names, [GeneralName::URI(&expected), GeneralName::DNSName("pay.example")]);
    assert_eq!(certificate.public_key().subject_public_key.data.as_ref(), machine.key.public_key_raw());
}

#[test]
fn a_request_that_is_no_pem_block_is_refused() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let pem = csr::to_pem(&csr::plain(&csr::p256()));
    let post = |text: &str| {
        let body = serde_json::json!({ "invitation": invitation, "csr": text });
        crate::wire::post(ca.listen(), None, "/v1/enroll", &body)
    };
    post("").refused(400, "csr_malformed");
    post(&pem.replace("REQUEST", "")).refused(400, "csr_malformed");
    post(&format!("{pem}{pem}")).refused(400, "csr_malformed");
    post(&pem.replace("-----END", "")).refused(400, "csr_malformed");
}

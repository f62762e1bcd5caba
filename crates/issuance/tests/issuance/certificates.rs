//! What stands in an issued certificate

use countersign_issuance::{MAX_CERTIFICATE, MAX_NAMES, Registration, approve};
use rcgen::PublicKeyData;
use x509_parser::extensions::GeneralName;

use crate::premises::{NOW, Premises, enroll, lineage, registration, workload};
use crate::requests::{algorithms, der, extension, extension_request, forged_info, p256, proven};
use countersign_issuance::ProvenKey;

/// Invariant 1: nothing of a request but its public key reaches the certificate.
#[tokio::test]
async fn nothing_from_a_csr_but_its_key_reaches_the_certificate() {
    let premises = Premises::new().await;
    let key = p256();
    let plain = premises.issue(proven(&key, vec![])).await;
    let common_name = der(0x30, &[&[6, 3, 0x55, 4, 3][..], &der(0x0c, b"evil.example")].concat());
    let subject = der(0x30, &der(0x31, &common_name));
    let names = der(0x30, &[der(0x82, b"pay.prod.example"), der(0x87, &[10, 0, 0, 7])].concat());
    let password =
        [&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7][..], &der(0x31, &der(0x0c, b"evil"))].concat();
    let attributes = [der(0x30, &password), extension_request(&extension(17, &names))].concat();
    let info = [&[2, 1, 0][..], &subject, &key.subject_public_key_info(), &der(0xa0, &attributes)].concat();
    let talkative = forged_info(&key, &info);
    let talkative = premises.issue(ProvenKey::from_csr(&talkative, algorithms()).unwrap()).await;
    let tbs = |der| x509_parser::parse_x509_certificate(der).unwrap().1.tbs_certificate.as_ref().to_vec();
    assert_eq!(tbs(plain.der()), tbs(talkative.der()), "the request's subject and names made no difference");
    assert!(!talkative.der().windows(4).any(|octets| octets == b"evil"));
}

#[tokio::test]
async fn a_leaf_is_what_the_standards_and_the_registration_say() {
    let premises = Premises::new().await;
    let key = p256();
    let issued = premises.issue(proven(&key, vec![])).await;
    let (rest, leaf) = x509_parser::parse_x509_certificate(issued.der()).unwrap();
    assert!(rest.is_empty());
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
    assert_eq!(leaf.subject().to_string(), format!("serialNumber={}", lineage()));
    assert_eq!(leaf.issuer().as_raw(), premises.issuer.subject());
    assert!(!leaf.is_ca());
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(!names.critical);
    assert_eq!(
        names.value.general_names,
        [
            GeneralName::URI("spiffe://prod.example/payments/api"),
            GeneralName::DNSName("pay.prod.example"),
            GeneralName::DNSName("api.prod.example"),
            GeneralName::IPAddress(&[10, 0, 0, 7]),
            GeneralName::IPAddress(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
        ]
    );
    assert_eq!(issued.spiffe_id(), &registration().id);
    assert_eq!(issued.lineage(), lineage());
}

#[tokio::test]
async fn the_longest_registration_that_stands_still_fits_a_certificate() {
    let premises = Premises::new().await;
    let mut longest = Registration { dns: Vec::new(), ip: Vec::new(), ..registration() };
    longest.id = format!("spiffe://prod.example/{}", "a".repeat(MAX_NAMES - 3 - 22)).parse().unwrap();
    let approved = approve(proven(&p256(), vec![]), &longest, &workload(), &premises.house(), NOW).unwrap();
    let issued = premises.finish(approved, enroll()).await;
    assert!((MAX_NAMES..=MAX_CERTIFICATE).contains(&issued.der().len()), "{} octets", issued.der().len());
}

#[tokio::test]
async fn an_issuer_made_by_another_tool_is_read_and_issues() {
    let mut premises = Premises::new().await;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Foreign CA");
    params.distinguished_name.push(rcgen::DnType::CountryName, "DE");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let foreign = params.self_signed(premises.pen.key()).unwrap();
    premises.issuer = countersign_issuance::IssuerCertificate::parse(foreign.der()).unwrap();
    assert_eq!(premises.issuer.path_length(), Some(0));
    let issued = premises.issue(proven(&p256(), vec![])).await;
    let (_, leaf) = x509_parser::parse_x509_certificate(issued.der()).unwrap();
    assert_eq!(leaf.issuer().as_raw(), premises.issuer.subject());
}

#[tokio::test]
async fn what_is_no_issuer_is_refused_with_what_it_lacks() {
    use countersign_issuance::IssuerCertificate;
    let key = p256();
    let made = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        params.self_signed(&key).unwrap().der().to_vec()
    };
    let refused = |der: &[u8]| IssuerCertificate::parse(der).unwrap_err().to_string();
    assert!(IssuerCertificate::parse(&made(&|_| {})).is_ok());
    assert!(refused(&made(&|params| params.is_ca = rcgen::IsCa::ExplicitNoCa)).contains("CA:TRUE"));
    assert!(
        refused(&made(&|params| params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign]))
            .contains("keyCertSign")
    );
    let nameless = made(&|params| params.distinguished_name = rcgen::DistinguishedName::new());
    assert!(refused(&nameless).contains("a subject"));
    assert!(refused(&[made(&|_| {}), vec![0]].concat()).contains("1 bytes follow"));
    assert!(refused(b"junk").contains("not one X.509 certificate"));
    assert!(refused(&der(0x30, &[])).contains("not one X.509 certificate"));
}

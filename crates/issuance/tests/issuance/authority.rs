//! The CA's own certificates

use countersign_identity::{TrustDomain, Validity};
use countersign_issuance::authority::{
    AuthorityError, TRUST_EPOCH, TRUST_SIGNING, issuer_certificate, self_signed_root,
    trust_signer_certificate,
};
use countersign_issuance::{IssuerCertificate, Signer};
use rcgen::PublicKeyData;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use crate::premises::{DAY, NOW, Premises, serial};
use crate::requests::{key_of, p256};

fn uri<'a>(certificate: &'a X509Certificate<'_>) -> &'a str {
    match certificate.subject_alternative_name().unwrap().unwrap().value.general_names.as_slice() {
        [GeneralName::URI(uri)] => uri,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn root_and_issuer_are_authorities_of_the_trust_domain_with_distinct_names() {
    let premises = Premises::new().await;
    let (_, root) = x509_parser::parse_x509_certificate(premises.root.der()).unwrap();
    let (_, issuer) = x509_parser::parse_x509_certificate(premises.issuer.der()).unwrap();
    for certificate in [&root, &issuer] {
        assert_eq!(uri(certificate), "spiffe://prod.example");
        assert!(certificate.name_constraints().unwrap().is_none());
        assert!(certificate.extended_key_usage().unwrap().is_none());
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    }
    assert_eq!(root.subject().to_string(), "O=prod.example, CN=Countersign root 01010101");
    assert_eq!(issuer.subject().to_string(), "O=prod.example, CN=Countersign issuer 02020202");
    assert_eq!((premises.root.path_length(), premises.issuer.path_length()), (None, Some(0)));
    assert_ne!(premises.root.subject_key_id(), premises.issuer.subject_key_id());
}

/// Invariant 11: what signs trust authenticates nobody, and only the root makes it.
#[tokio::test]
async fn a_trust_signer_has_its_own_purpose_and_its_epoch_and_no_other() {
    let premises = Premises::new().await;
    let key = p256();
    let validity = Validity::new(NOW - DAY, NOW + 90 * DAY).unwrap();
    let der = trust_signer_certificate(
        &premises.trust_domain,
        7,
        serial(5),
        validity,
        &key.subject_public_key_info(),
        &premises.root,
        &premises.root_pen,
    )
    .await
    .unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert_eq!(uri(&certificate), "spiffe://prod.example/countersign/trust");
    assert!(!certificate.is_ca());
    let purposes = certificate.extended_key_usage().unwrap().unwrap();
    assert!(purposes.critical && !purposes.value.client_auth && !purposes.value.server_auth);
    assert_eq!(purposes.value.other.iter().map(ToString::to_string).collect::<Vec<_>>(), [TRUST_SIGNING]);
    let epoch = certificate
        .extensions()
        .iter()
        .find(|extension| extension.oid.to_id_string() == TRUST_EPOCH)
        .unwrap();
    assert!(
        !epoch.critical && matches!(epoch.parsed_extension(), ParsedExtension::UnsupportedExtension { .. })
    );
    assert_eq!(epoch.value, [2, 1, 7]);
    assert!(IssuerCertificate::parse(&der).is_err(), "it issues nothing");
}

#[tokio::test]
async fn an_issuer_may_not_outlive_the_root_nor_share_its_key() {
    let premises = Premises::new().await;
    let end = premises.root.validity().not_after();
    let made = |not_after, spki: Vec<u8>| {
        let validity = Validity::new(NOW, not_after).unwrap();
        let premises = &premises;
        async move {
            let (root, pen) = (&premises.root, &premises.root_pen);
            issuer_certificate(&premises.trust_domain, serial(6), validity, &spki, root, pen).await
        }
    };
    let spki = p256().subject_public_key_info();
    assert!(made(end, spki.clone()).await.is_ok());
    let longer = made(end + std::time::Duration::from_secs(1), spki.clone()).await;
    assert!(matches!(longer, Err(AuthorityError::OutlivesRoot { .. })));
    let shared = made(end, premises.root_pen.public_key().to_vec()).await;
    assert_eq!(shared, Err(AuthorityError::RootKey));
    let rsa = made(end, key_of(&rcgen::PKCS_RSA_SHA256).subject_public_key_info()).await;
    assert!(matches!(rsa, Err(AuthorityError::Key(_))));
    let validity = Validity::new(NOW, end).unwrap();
    let wrong_pen =
        issuer_certificate(&premises.trust_domain, serial(6), validity, &spki, &premises.root, &premises.pen)
            .await;
    assert!(matches!(wrong_pen, Err(AuthorityError::Signer(_))));
}

#[tokio::test]
async fn the_longest_trust_domain_has_a_root_too() {
    let premises = Premises::new().await;
    let longest: TrustDomain = "a".repeat(255).parse().unwrap();
    let validity = Validity::new(NOW, NOW + DAY).unwrap();
    let root = self_signed_root(&longest, serial(1), validity, &premises.pen).await.unwrap();
    let (_, root) = x509_parser::parse_x509_certificate(&root).unwrap();
    assert_eq!(root.subject().to_string(), "CN=Countersign root 01010101");
    assert_eq!(uri(&root).len(), "spiffe://".len() + 255);
}

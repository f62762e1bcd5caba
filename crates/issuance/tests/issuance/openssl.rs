//! OpenSSL as a second opinion on what we issue, and as another maker of requests and issuers

use std::path::Path;
use std::process::{Command, Output};

use countersign_issuance::authority::trust_signer_certificate;
use countersign_issuance::{
    Act, CsrError, IssuerCertificate, KeyKind, ProvenKey, SigningAlgorithm, approve_own,
};
use rcgen::PublicKeyData;
use tempfile::TempDir;

use crate::premises::{DAY, NOW, Premises};
use crate::requests::{algorithms, p256, proven, refusal};

fn openssl(directory: &Path, arguments: &str) -> Output {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output();
    output.unwrap_or_else(|error| panic!("these tests need the openssl command line tool: {error}"))
}

/// Runs openssl, which must succeed, and returns what it says.
fn says(directory: &Path, arguments: &str) -> String {
    let output = openssl(directory, arguments);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "openssl {arguments}: {text}");
    text
}

/// Writes a certificate as NAME.der and NAME.pem.
fn write(directory: &Path, name: &str, der: &[u8]) {
    std::fs::write(directory.join(format!("{name}.der")), der).unwrap();
    says(directory, &format!("x509 -inform DER -in {name}.der -out {name}.pem"));
}

async fn premises() -> (Premises, TempDir) {
    let (premises, directory) = (Premises::new().await, TempDir::new().unwrap());
    write(directory.path(), "root", premises.root.der());
    write(directory.path(), "issuer", premises.issuer.der());
    (premises, directory)
}

#[tokio::test]
async fn openssl_verifies_a_leaf_strictly_for_both_ends_of_tls() {
    let (premises, directory) = premises().await;
    let directory = directory.path();
    let issued = premises.issue(proven(&p256(), vec![])).await;
    write(directory, "leaf", issued.der());
    for purpose in ["sslclient", "sslserver"] {
        let chain = "-CAfile root.pem -untrusted issuer.pem leaf.pem";
        let verify =
            format!("verify -x509_strict -check_ss_sig -attime {} -purpose {purpose} {chain}", NOW.unix());
        assert_eq!(says(directory, &verify).trim(), "leaf.pem: OK");
    }
    // OpenSSL counts the very second of notAfter as over already, RFC 5280 does not.
    for (second, holds) in [(3_598, true), (3_600, false), (-60, true), (-61, false)] {
        let at = NOW.unix() + second;
        let verify = format!("verify -attime {at} -CAfile root.pem -untrusted issuer.pem leaf.pem");
        assert_eq!(openssl(directory, &verify).status.success(), holds, "{second}");
    }
}

#[tokio::test]
async fn openssl_reads_in_a_leaf_what_we_wrote() {
    let (premises, directory) = premises().await;
    let directory = directory.path();
    write(directory, "leaf", premises.issue(proven(&p256(), vec![])).await.der());
    let text = says(directory, "x509 -in leaf.pem -noout -text -certopt ext_error");
    for line in [
        "Version: 3 (0x2)",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Subject: serialNumber = l-abababababababababababababababab",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication\n",
        "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
        "URI:spiffe://prod.example/payments/api, DNS:pay.prod.example, DNS:api.prod.example, IP Address:10.0.0.7, \
         IP Address:2001:DB8:0:0:0:0:0:7\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(says(directory, "x509 -in leaf.pem -noout -serial").to_lowercase().contains(&"03".repeat(17)));
}

#[tokio::test]
async fn openssl_verifies_the_cas_own_certificates() {
    let (premises, directory) = premises().await;
    let directory = directory.path();
    let own =
        approve_own(proven(&p256(), vec![]), &premises.reserved, 7 * DAY, &premises.house(), NOW).unwrap();
    write(directory, "server", premises.finish(own, Act::Own).await.der());
    let trust_key = p256().subject_public_key_info();
    let trust = trust_signer_certificate(
        &premises.trust_domain,
        1,
        crate::premises::serial(5),
        premises.root.validity(),
        &trust_key,
        &premises.root,
        &premises.root_pen,
    );
    write(directory, "trust", &trust.await.unwrap());
    let at = format!("verify -x509_strict -attime {} -CAfile root.pem", NOW.unix());
    assert!(openssl(directory, &format!("{at} root.pem")).status.success());
    says(directory, &format!("{at} issuer.pem"));
    says(
        directory,
        &format!("{at} -untrusted issuer.pem -purpose sslserver -verify_hostname ca.prod.example server.pem"),
    );
    says(directory, &format!("{at} trust.pem"));
    // Invariant 11: neither a trust signer nor an issuer authenticates anybody.
    for (certificate, purpose) in
        [("trust", "sslclient"), ("trust", "sslserver"), ("issuer", "sslclient"), ("issuer", "sslserver")]
    {
        let refused = openssl(directory, &format!("{at} -purpose {purpose} {certificate}.pem"));
        assert!(!refused.status.success(), "{certificate} as {purpose}");
    }
}

#[test]
fn requests_made_by_openssl_are_read() {
    let directory = TempDir::new().unwrap();
    for (how, kind) in [
        ("ec -pkeyopt ec_paramgen_curve:P-256", KeyKind::P256),
        ("ec -pkeyopt ec_paramgen_curve:P-384 -sha384", KeyKind::P384),
        ("ed25519", KeyKind::Ed25519),
    ] {
        let request = format!(
            "req -new -newkey {how} -nodes -keyout key.pem -subj /CN=x -outform DER -out request.der"
        );
        says(directory.path(), &format!("{request} -addext subjectAltName=DNS:a.example,IP:10.0.0.7"));
        let der = std::fs::read(directory.path().join("request.der")).unwrap();
        assert_eq!(ProvenKey::from_csr(&der, algorithms()).unwrap().kind(), kind);
    }
}

#[test]
fn requests_for_weak_and_foreign_keys_are_refused() {
    let directory = TempDir::new().unwrap();
    for (how, name) in [
        ("rsa:1024", "RSA"),
        ("ec -pkeyopt ec_paramgen_curve:secp256k1", "secp256k1"),
        ("ec -pkeyopt ec_paramgen_curve:P-521", "P-521"),
        (
            "ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            "elliptic curve without a name",
        ),
        ("ed448", "Ed448"),
    ] {
        let request = format!(
            "req -new -newkey {how} -nodes -keyout key.pem -subj /CN=x -outform DER -out request.der"
        );
        says(directory.path(), &request);
        let der = std::fs::read(directory.path().join("request.der")).unwrap();
        assert_eq!(refusal(&der), CsrError::UnsupportedKey { found: name.to_owned() });
    }
}

#[test]
fn an_issuer_made_by_openssl_is_read() {
    let directory = TempDir::new().unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout key.pem";
    let usage = "-addext keyUsage=critical,keyCertSign";
    says(
        directory.path(),
        &format!("req -x509 {key} -subj /C=DE/O=Org/CN=Root {usage} -outform DER -out root.der"),
    );
    let root = IssuerCertificate::parse(&std::fs::read(directory.path().join("root.der")).unwrap()).unwrap();
    assert_eq!(root.algorithm(), SigningAlgorithm::EcdsaP384Sha384);
    assert_eq!(root.subject_key_id().len(), 20);
}

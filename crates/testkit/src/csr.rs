//! Certificate signing requests, good and bad.
//!
//! The keys no library here makes any more, or none should, are fixtures made with openssl.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;

use crate::leaf::ia5;

/// A new P-256 key.
///
/// # Panics
/// When the cryptography fails.
#[must_use]
pub fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a new P-256 key")
}

/// A new P-384 key.
///
/// # Panics
/// When the cryptography fails.
#[must_use]
pub fn p384() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a new P-384 key")
}

/// A new Ed25519 key.
///
/// # Panics
/// When the cryptography fails.
#[must_use]
pub fn ed25519() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a new Ed25519 key")
}

/// A request that asks for nothing but a certificate of this key.
#[must_use]
pub fn plain(key: &KeyPair) -> Vec<u8> {
    request(key, |_| {})
}

/// A request for these URI and DNS names.
#[must_use]
pub fn with_names(key: &KeyPair, uris: &[&str], dns: &[&str]) -> Vec<u8> {
    request(key, |params| {
        let uris = uris.iter().map(|uri| SanType::URI(ia5(uri)));
        params.subject_alt_names = uris.chain(dns.iter().map(|name| SanType::DnsName(ia5(name)))).collect();
    })
}

/// A request with this common name as its subject.
#[must_use]
pub fn with_subject(key: &KeyPair, common_name: &str) -> Vec<u8> {
    request(key, |params| params.distinguished_name.push(DnType::CommonName, common_name))
}

/// A request to become a certificate authority.
#[must_use]
pub fn for_a_ca(key: &KeyPair) -> Vec<u8> {
    request(key, |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    })
}

/// Signed by RSA-1024: too weak for anything.
#[must_use]
pub fn rsa_1024() -> Vec<u8> {
    fixture(include_bytes!("../fixtures/csr-rsa-1024.pem"))
}

/// Signed by RSA-2048: sound, but of no profile.
#[must_use]
pub fn rsa_2048() -> Vec<u8> {
    fixture(include_bytes!("../fixtures/csr-rsa-2048.pem"))
}

/// Signed by P-521: sound, but of no profile.
#[must_use]
pub fn p521() -> Vec<u8> {
    fixture(include_bytes!("../fixtures/csr-p521.pem"))
}

/// Signed on secp256k1: a curve TLS has no use for.
#[must_use]
pub fn secp256k1() -> Vec<u8> {
    fixture(include_bytes!("../fixtures/csr-secp256k1.pem"))
}

/// The PEM form of a request.
#[must_use]
pub fn to_pem(der: &[u8]) -> String {
    crate::forged::to_pem("CERTIFICATE REQUEST", der)
}

fn request(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(key).expect("a request rcgen can write").der().to_vec()
}

fn fixture(pem: &[u8]) -> Vec<u8> {
    CertificateSigningRequestDer::from_pem_slice(pem).expect("a request in PEM").to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_one_der_sequence() {
        let key = p256();
        let made = [
            plain(&key),
            with_names(&key, &["spiffe://prod.example/x"], &["x.example"]),
            with_subject(&p384(), "somebody"),
            for_a_ca(&ed25519()),
            rsa_1024(),
            rsa_2048(),
            p521(),
            secp256k1(),
        ];
        assert!(made.iter().all(|der| der.first() == Some(&0x30) && der.len() > 100));
    }

    #[test]
    fn the_pem_form_reads_back() {
        let der = plain(&p256());
        assert_eq!(fixture(to_pem(&der).as_bytes()), der);
    }
}

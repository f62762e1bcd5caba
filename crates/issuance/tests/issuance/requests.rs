//! Signing requests: made by rcgen, and made wrong by hand

use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData, SanType, SignatureAlgorithm, SigningKey};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::SignatureVerificationAlgorithm;

use countersign_issuance::{CsrError, ProvenKey};

/// All that our TLS stack verifies, RSA and P-521 included: what is refused is refused by the corridor itself.
pub(crate) fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    aws_lc_rs::default_provider().signature_verification_algorithms.all
}

pub(crate) fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

pub(crate) fn key_of(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// A request of rcgen's with a common name and these names.
pub(crate) fn request(key: &KeyPair, names: Vec<SanType>) -> Vec<u8> {
    request_with(key, names, |_| {})
}

pub(crate) fn request_with(
    key: &KeyPair,
    names: Vec<SanType>,
    change: impl FnOnce(&mut CertificateParams),
) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root of all evil");
    params.subject_alt_names = names;
    change(&mut params);
    params.serialize_request(key).unwrap().der().to_vec()
}

pub(crate) fn proven(key: &KeyPair, names: Vec<SanType>) -> ProvenKey {
    ProvenKey::from_csr(&request(key, names), algorithms()).unwrap()
}

pub(crate) fn refusal(der: &[u8]) -> CsrError {
    ProvenKey::from_csr(der, algorithms()).unwrap_err()
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

pub(crate) fn ip(text: &str) -> SanType {
    SanType::IpAddress(text.parse().unwrap())
}

/// One DER value; the tests' own three lines of a writer.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..=0x7f => vec![u8::try_from(short).unwrap()],
        long @ 0x80..=0xff => vec![0x81, u8::try_from(long).unwrap()],
        longer => [&[0x82][..], &u16::try_from(longer).unwrap().to_be_bytes()].concat(),
    };
    [&[tag][..], &length, content].concat()
}

/// The extensionRequest attribute around these (encoded) extensions.
pub(crate) fn extension_request(extensions: &[u8]) -> Vec<u8> {
    let kind = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
    der(0x30, &[&kind[..], &der(0x31, &der(0x30, extensions))].concat())
}

/// One extension: 2.5.29.`arc`.
pub(crate) fn extension(arc: u8, value: &[u8]) -> Vec<u8> {
    der(0x30, &[&[0x06, 3, 0x55, 0x1d, arc][..], &der(0x04, value)].concat())
}

/// A properly signed request with an empty subject and this content of its attributes.
pub(crate) fn forged(key: &KeyPair, attributes: &[u8]) -> Vec<u8> {
    let attributes = der(0xa0, attributes);
    forged_info(key, &[&[2, 1, 0, 0x30, 0][..], &key.subject_public_key_info(), &attributes].concat())
}

/// A properly signed request around this content of CertificationRequestInfo.
pub(crate) fn forged_info(key: &KeyPair, info: &[u8]) -> Vec<u8> {
    let info = der(0x30, info);
    let signature = [&[0][..], &key.sign(&info).unwrap()].concat();
    let algorithm = [0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    der(0x30, &[&info[..], &algorithm, &der(0x03, &signature)].concat())
}

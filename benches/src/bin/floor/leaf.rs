//! From a CSR to a signed leaf: the same fields as the CA's, by plain concatenation of DER.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_bench::{pem, tls};
use rustls::sign::Signer;
use rustls_pki_types::SignatureVerificationAlgorithm;
use time::OffsetDateTime;
use x509_parser::{
    certification_request::X509CertificationRequest, extensions::ParsedExtension,
    oid_registry::OID_SIG_ECDSA_WITH_SHA256, prelude::FromDer as _,
};

/// Everything of a P-256 SubjectPublicKeyInfo before the point's coordinates (RFC 5480 §2).
const P256_SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
const P256_SPKI_LENGTH: usize = 91;
const ECDSA_WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// KeyUsage digitalSignature, ExtendedKeyUsage serverAuth and clientAuth, BasicConstraints CA:FALSE.
const FIXED_EXTENSIONS: &[u8] = b"\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80\
    \x30\x1d\x06\x03\x55\x1d\x25\x04\x16\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02\
    \x30\x0c\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x02\x30\x00";
const LIFETIME: Duration = Duration::from_hours(1);

/// The pen, with what it copies into each leaf.
pub(crate) struct Issuer {
    name: Vec<u8>,
    key_id: Vec<u8>,
    signer: Box<dyn Signer>,
    verification: &'static dyn SignatureVerificationAlgorithm,
}

/// A signed leaf.
pub(crate) struct Leaf {
    pub(crate) der: Vec<u8>,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Issuer {
    pub(crate) fn new(certificate: &str, key: &str) -> Result<Self> {
        let chain = pem::certificates(certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(chain.first().context("no issuer")?)?;
        let key_id = parsed.extensions().iter().find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            name: parsed.subject().as_raw().to_vec(),
            key_id: key_id.context("the issuer has no subject key identifier")?,
            signer: tls::p256_signer(key)?,
            verification: tls::p256_verification()?,
        })
    }

    /// Checks the CSR and signs a leaf of its key for an identity.
    pub(crate) fn issue(&self, csr: &[u8], spiffe_id: &str, lineage: &str) -> Result<Leaf> {
        let spki = self.proven_key(csr)?;
        let now = OffsetDateTime::now_utc();
        let (not_before, not_after) = (now - Duration::from_mins(1), now + LIFETIME);
        let tbs = sequence(&[
            b"\xa0\x03\x02\x01\x02",
            &serial(),
            ECDSA_WITH_SHA256,
            &self.name,
            &sequence(&[&utc_time(not_before), &utc_time(not_after)]),
            &subject(lineage),
            spki,
            &tlv(0xa3, &[&sequence(&[FIXED_EXTENSIONS, &self.authority_key(), &uri_name(spiffe_id)])]),
        ]);
        let signature = tlv(0x03, &[&[0], &self.signer.sign(&tbs)?]);
        Ok(Leaf { der: sequence(&[&tbs, ECDSA_WITH_SHA256, &signature]), not_before, not_after })
    }

    /// The CSR's SubjectPublicKeyInfo, once its signature is found to be by that key.
    fn proven_key<'a>(&self, csr: &'a [u8]) -> Result<&'a [u8]> {
        let (rest, request) = X509CertificationRequest::from_der(csr)?;
        let info = request.certification_request_info;
        let spki = info.subject_pki.raw;
        ensure!(rest.is_empty(), "octets after the CSR");
        ensure!(
            request.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256,
            "not an ECDSA SHA-256 CSR"
        );
        ensure!(spki.len() == P256_SPKI_LENGTH && spki.starts_with(P256_SPKI), "not a P-256 key");
        self.verification
            .verify_signature(
                &info.subject_pki.subject_public_key.data,
                info.raw,
                &request.signature_value.data,
            )
            .ok()
            .context("the CSR is not signed by its key")?;
        Ok(spki)
    }

    fn authority_key(&self) -> Vec<u8> {
        let id = sequence(&[&tlv(0x80, &[&self.key_id])]);
        sequence(&[b"\x06\x03\x55\x1d\x23", &tlv(0x04, &[&id])])
    }
}

/// One SubjectAltName of type URI.
fn uri_name(spiffe_id: &str) -> Vec<u8> {
    let names = sequence(&[&tlv(0x86, &[spiffe_id.as_bytes()])]);
    sequence(&[b"\x06\x03\x55\x1d\x11", &tlv(0x04, &[&names])])
}

/// One RDN of type serialNumber.
fn subject(lineage: &str) -> Vec<u8> {
    let attribute = sequence(&[b"\x06\x03\x55\x04\x05", &tlv(0x13, &[lineage.as_bytes()])]);
    sequence(&[&tlv(0x31, &[&attribute])])
}

/// 18 random octets, positive and without a leading zero.
fn serial() -> Vec<u8> {
    let mut octets: [u8; 18] = rand::random();
    octets[0] = (octets[0] & 0x7f) | 0x01;
    tlv(0x02, &[&octets])
}

fn utc_time(at: OffsetDateTime) -> Vec<u8> {
    let (date, time) = (at.date(), at.time());
    let text = format!(
        "{:02}{:02}{:02}{:02}{:02}{:02}Z",
        date.year() % 100,
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    tlv(0x17, &[text.as_bytes()])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    let mut der = Vec::with_capacity(length + 4);
    der.push(tag);
    let [.., high, low] = length.to_be_bytes();
    match length {
        0..=0x7f => der.push(low),
        0x80..=0xff => der.extend([0x81, low]),
        _ => der.extend([0x82, high, low]),
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::house;

    fn issuer() -> Issuer {
        let dir = tempfile::tempdir().unwrap();
        house::init(dir.path(), 1).unwrap();
        let house = house::open(dir.path()).unwrap();
        Issuer::new(&house.issuer, &house.issuer_key).unwrap()
    }

    fn csr() -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_leaf_carries_the_key_of_its_csr_and_the_identity_of_its_caller() {
        let csr = csr();
        let leaf = issuer().issue(&csr, "spiffe://td/a", "l-0").unwrap().der;
        let (rest, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&csr).unwrap();
        assert!(rest.is_empty());
        assert_eq!(parsed.public_key().raw, request.certification_request_info.subject_pki.raw);
        assert_eq!(tls::spiffe_id(&leaf.as_slice().into()).unwrap(), "spiffe://td/a");
    }

    #[test]
    fn a_csr_with_a_bad_signature_is_refused() {
        let mut csr = csr();
        // The last octet of the signature's s.
        *csr.last_mut().unwrap() ^= 1;
        assert!(issuer().issue(&csr, "spiffe://td/a", "l-0").is_err());
    }

    #[test]
    fn a_csr_with_trailing_bytes_is_refused() {
        let mut csr = csr();
        csr.push(0);
        assert!(issuer().issue(&csr, "spiffe://td/a", "l-0").is_err());
    }
}

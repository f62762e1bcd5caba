//! The certificate under which others are issued

use countersign_identity::{KeyHash, Timestamp, Validity};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::key::{KeyError, PublicKey};
use crate::signer::SigningAlgorithm;

/// A CA certificate, ours or made by other tools: what has to be known of it to issue below it.
///
/// Reading it says nothing about trust: which issuers are used, the operator has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerCertificate {
    der: Vec<u8>,
    serial: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
    key_hash: KeyHash,
    algorithm: SigningAlgorithm,
    subject_key_id: Vec<u8>,
    validity: Validity,
    path_length: Option<u32>,
}

/// Why a certificate is no issuer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// No certificate, or something behind it.
    #[error("not one X.509 certificate in DER: {why}")]
    Malformed {
        /// What the parser says.
        why: String,
    },
    /// A certificate that is no CA's.
    #[error("the certificate is no CA's: {missing} is missing")]
    NotACa {
        /// What a CA certificate has and this has not.
        missing: &'static str,
    },
    /// Its key is none that signs here.
    #[error("the certificate's key cannot be used: {0}")]
    Key(#[from] KeyError),
}

impl IssuerCertificate {
    /// Reads a CA certificate.
    ///
    /// # Errors
    /// When it is malformed, no CA's (CA:TRUE, keyCertSign, a subject and a key identifier), or its key of a kind that
    /// does not sign here.
    pub fn parse(der: &[u8]) -> Result<Self, IssuerError> {
        let certificate = match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificate,
            Ok((rest, _)) => {
                return Err(IssuerError::Malformed { why: format!("{} bytes follow it", rest.len()) });
            }
            Err(error) => return Err(IssuerError::Malformed { why: error.to_string() }),
        };
        let path_length = authority(&certificate)?;
        let subject = certificate.subject().as_raw().to_vec();
        // RFC 5280 §4.1.2.6: a CA's subject is not empty. An empty SEQUENCE has two octets.
        if subject.len() <= 2 {
            return Err(IssuerError::NotACa { missing: "a subject" });
        }
        let key = PublicKey::read(certificate.public_key().raw)?;
        Ok(IssuerCertificate {
            der: der.to_vec(),
            serial: certificate.raw_serial().to_vec(),
            subject,
            spki: key.spki.to_vec(),
            key_hash: key.hash(),
            algorithm: SigningAlgorithm::of(key.kind),
            subject_key_id: subject_key_id(&certificate)?,
            validity: validity(&certificate)?,
            path_length,
        })
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its serial number: the content octets of the INTEGER, most significant first.
    #[must_use]
    pub fn serial_octets(&self) -> &[u8] {
        &self.serial
    }

    /// Its subject (Name, DER): to be copied octet for octet into what it issues.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// Its SubjectPublicKeyInfo (DER).
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// How its key signs.
    #[must_use]
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Its subject key identifier, the authority key identifier of what it issues.
    #[must_use]
    pub fn subject_key_id(&self) -> &[u8] {
        &self.subject_key_id
    }

    /// When it is valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// How many CAs may stand between it and a leaf, if that is limited.
    #[must_use]
    pub const fn path_length(&self) -> Option<u32> {
        self.path_length
    }
}

/// Checks what makes a CA (RFC 5280 §4.2.1.3, §4.2.1.9) and returns the path length constraint.
fn authority(certificate: &X509Certificate<'_>) -> Result<Option<u32>, IssuerError> {
    let malformed = |error: x509_parser::error::X509Error| IssuerError::Malformed { why: error.to_string() };
    let constraints = certificate.basic_constraints().map_err(malformed)?;
    let Some(constraints) = constraints.filter(|constraints| constraints.value.ca) else {
        return Err(IssuerError::NotACa { missing: "CA:TRUE in basicConstraints" });
    };
    let usage = certificate.key_usage().map_err(malformed)?;
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err(IssuerError::NotACa { missing: "keyCertSign in keyUsage" });
    }
    Ok(constraints.value.path_len_constraint)
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Result<Vec<u8>, IssuerError> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) if !id.0.is_empty() => Some(id.0.to_vec()),
            _ => None,
        })
        .ok_or(IssuerError::NotACa { missing: "a subject key identifier" })
}

fn validity(certificate: &X509Certificate<'_>) -> Result<Validity, IssuerError> {
    let validity = certificate.validity();
    Validity::new(
        Timestamp::from_unix(validity.not_before.timestamp()),
        Timestamp::from_unix(validity.not_after.timestamp()),
    )
    .map_err(|error| IssuerError::Malformed { why: error.to_string() })
}

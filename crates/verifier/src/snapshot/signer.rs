//! The trust signer: certified by a root itself, for signing trust and for nothing else.

use countersign_identity::{Timestamp, TrustDomain, ValidityState};
use rustls::pki_types::SignatureVerificationAlgorithm;

use super::fault::SignerFault;
use crate::certificate::Certificate;
use crate::der::{INTEGER, Reader, SEQUENCE};
use crate::extension::{Broken, Extension};
use crate::profile::{self, Place};

/// extendedKeyUsage (RFC 5280 §4.2.1.12).
const PURPOSES: &[u8] = &[0x55, 0x1d, 37];

/// 2.25.250477940.1: the purpose of trust signers, and of nobody else.
const TRUST_SIGNING: &[u8] = &[0x69, 0xf7, 0xb7, 0xfa, 0x74, 0x01];

/// 2.25.250477940.2: the extension that carries the epoch, an INTEGER.
const TRUST_EPOCH: &[u8] = &[0x69, 0xf7, 0xb7, 0xfa, 0x74, 0x02];

/// A trust signer's certificate, judged.
#[derive(Debug)]
pub(super) struct TrustSigner<'a> {
    pub(super) certificate: Certificate<'a>,
    pub(super) epoch: u64,
}

/// What of its extensions no other certificate has.
#[derive(Default)]
struct Own {
    for_trust_only: bool,
    epoch: Option<u64>,
}

impl<'a> TrustSigner<'a> {
    /// Judges a certificate that came with a snapshot issued at `issued`.
    pub(super) fn judge(
        der: &'a [u8],
        roots: &[Vec<u8>],
        domain: &TrustDomain,
        issued: Timestamp,
        known: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Self, SignerFault> {
        let certificate = Certificate::read(der).map_err(|what| SignerFault::Malformed { what })?;
        if certificate.is_ca() {
            return Err(SignerFault::Authority);
        }
        let own = Own::read(&certificate)?;
        if !own.for_trust_only {
            return Err(SignerFault::Purpose);
        }
        name(&certificate, domain)?;
        let usage = certificate.extensions.key_usage.map(|found| found.value);
        if !usage.is_some_and(|u| u.digital_signature() && !u.key_cert_sign() && !u.crl_sign()) {
            return Err(SignerFault::KeyUsage);
        }
        profile::judge(&certificate, Place::Leaf).map_err(SignerFault::Profile)?;
        certified(&certificate, roots, issued, known)?;
        let epoch = own.epoch.ok_or(SignerFault::NoEpoch)?;
        Ok(Self { certificate, epoch })
    }
}

impl Own {
    fn read(certificate: &Certificate<'_>) -> Result<Self, SignerFault> {
        let mut own = Self::default();
        let read = Extension::each(certificate.extensions.content, |extension| {
            match extension.oid {
                PURPOSES => own.for_trust_only = extension.critical && only_trust(extension.content),
                TRUST_EPOCH => own.epoch = epoch(extension.content),
                _ => {}
            }
            Ok::<(), Broken>(())
        });
        read.map_err(|(part, fault)| SignerFault::Malformed { what: format!("its {part} {fault}") })?;
        Ok(own)
    }
}

fn only_trust(content: &[u8]) -> bool {
    // It was read before, so that nothing stands behind it.
    let purposes = Reader::new(content).take(SEQUENCE);
    let mut purposes = Reader::new(purposes.unwrap_or_default());
    purposes.oid().is_ok_and(|first| first == TRUST_SIGNING) && purposes.is_empty()
}

fn epoch(content: &[u8]) -> Option<u64> {
    let mut whole = Reader::new(content);
    let octets = whole.take(INTEGER).ok()?;
    whole.end().ok()?;
    let digits = crate::der::minimal_integer(octets).ok()?;
    // Positive, and of at most eight octets beside a zero that says so.
    let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
    let negative = octets.first().is_some_and(|first| first & 0x80 != 0);
    if negative || digits.len() > size_of::<u64>() {
        return None;
    }
    Some(digits.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
}

fn name(certificate: &Certificate<'_>, domain: &TrustDomain) -> Result<(), SignerFault> {
    let expected = format!("{}/countersign/trust", domain.id());
    let names = certificate.extensions.subject_names.map(|names| names.value).unwrap_or_default();
    if names.uris == 1 && names.first_uri == Some(&expected) {
        return Ok(());
    }
    Err(SignerFault::Name { expected })
}

/// Whether a root signed it, both in their time. No path is built: whoever stands in between has no business there.
fn certified(
    certificate: &Certificate<'_>,
    roots: &[Vec<u8>],
    issued: Timestamp,
    known: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), SignerFault> {
    let roots = roots.iter().filter_map(|root| Certificate::read(root).ok());
    let root =
        roots.into_iter().find(|root| certificate.is_signed_by(root, known)).ok_or(SignerFault::NotByRoot)?;
    let in_time = [root.validity, certificate.validity]
        .iter()
        .all(|validity| matches!(validity.state(issued), ValidityState::Current));
    if in_time { Ok(()) } else { Err(SignerFault::NotInTime { issued }) }
}

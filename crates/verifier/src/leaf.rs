//! The leaf certificate: read once, and judged by the rules for X.509 SVIDs that path building omits.

use countersign_identity::{KeyHash, Lineage, Serial, SpiffeId, Timestamp, Validity};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::FromDer;

use crate::peer::PeerFacts;
use crate::refusal::{LeafRule, NotSpiffe, Refusal};

/// A certificate that names one workload; nothing about it is proven yet.
#[derive(Debug)]
pub(crate) struct Leaf<'a> {
    parsed: X509Certificate<'a>,
    der: &'a CertificateDer<'a>,
    spiffe_id: SpiffeId,
    validity: Validity,
}

impl<'a> Leaf<'a> {
    /// Reads the certificate as far as its name and its time.
    pub(crate) fn read(der: &'a CertificateDer<'a>) -> Result<Self, Refusal> {
        let parsed = parse(der).map_err(|what| Refusal::Malformed { what })?;
        let uris = uri_names(&parsed).map_err(|what| Refusal::Malformed { what })?;
        let spiffe_id = workload_id(&uris).map_err(Refusal::NotSpiffe)?;
        let validity = validity(&parsed).map_err(|what| Refusal::Malformed { what })?;
        Ok(Self { parsed, der, spiffe_id, validity })
    }

    pub(crate) const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    pub(crate) const fn validity(&self) -> Validity {
        self.validity
    }

    /// SPIFFE X509-SVID §4.1, §4.3, §4.4 and §5.2.
    pub(crate) fn obey_rules(&self) -> Result<(), Refusal> {
        let unreadable = |what: &str| Refusal::Malformed { what: format!("its {what} extension is broken") };
        let constraints = self.parsed.basic_constraints().map_err(|_| unreadable("basicConstraints"))?;
        if constraints.is_some_and(|found| found.value.ca) {
            return Err(Refusal::LeafRule { rule: LeafRule::IsCa });
        }
        let usage = self.parsed.key_usage().map_err(|_| unreadable("keyUsage"))?;
        let usage = usage.ok_or(Refusal::LeafRule { rule: LeafRule::NoKeyUsage })?;
        let broken = [
            (!usage.critical, LeafRule::KeyUsageNotCritical),
            (usage.value.key_cert_sign(), LeafRule::KeyCertSign),
            (usage.value.crl_sign(), LeafRule::CrlSign),
            (!usage.value.digital_signature(), LeafRule::NoDigitalSignature),
        ];
        if let Some((_, rule)) = broken.into_iter().find(|(broken, _)| *broken) {
            return Err(Refusal::LeafRule { rule });
        }
        let purposes = self.parsed.extended_key_usage().map_err(|_| unreadable("extendedKeyUsage"))?;
        match purposes {
            Some(found) if !(found.value.server_auth && found.value.client_auth) => {
                Err(Refusal::LeafRule { rule: LeafRule::ExtendedKeyUsage })
            }
            _ => Ok(()),
        }
    }

    /// Its serial, where it has the form Countersign gives, and SHA-256 of its to-be-signed part.
    pub(crate) fn fingerprint(&self) -> Option<(Serial, [u8; 32])> {
        let serial = Serial::from_be_bytes(self.parsed.raw_serial()).ok()?;
        Some((serial, Sha256::digest(self.parsed.tbs_certificate.as_ref()).into()))
    }

    /// What the certificate says, under the key that signed it.
    pub(crate) fn facts(&self, issuer_key: KeyHash) -> PeerFacts {
        PeerFacts {
            spiffe_id: self.spiffe_id.clone(),
            serial: self.parsed.raw_serial().to_vec(),
            lineage: lineage(&self.parsed),
            validity: self.validity,
            key_hash: key_hash(self.parsed.public_key().raw),
            issuer_key,
            thumbprint: Sha256::digest(self.der.as_ref()).into(),
            der: self.der.clone().into_owned(),
        }
    }
}

/// Reads one certificate with nothing behind it.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der.as_ref()) {
        Ok(([], parsed)) => Ok(parsed),
        Ok((rest, _)) => Err(format!("{} octets follow its end, expected none", rest.len())),
        Err(fault) => Err(format!("it is not an X.509 certificate ({fault})")),
    }
}

/// The URIs among the subject alternative names.
pub(crate) fn uri_names<'a>(parsed: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, String> {
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| "its subjectAltName extension is broken".to_owned())?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let mut uris = Vec::new();
    for name in names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => {
                return Err("one of its subject alternative names is broken".to_owned());
            }
            _ => {}
        }
    }
    Ok(uris)
}

/// First and last second of a certificate.
pub(crate) fn validity(parsed: &X509Certificate<'_>) -> Result<Validity, String> {
    let times = parsed.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_unix(time.timestamp());
    Validity::new(at(times.not_before), at(times.not_after)).map_err(|fault| fault.to_string())
}

/// SHA-256 of a SubjectPublicKeyInfo.
pub(crate) fn key_hash(spki: &[u8]) -> KeyHash {
    KeyHash::from_bytes(Sha256::digest(spki).into())
}

fn workload_id(uris: &[&str]) -> Result<SpiffeId, NotSpiffe> {
    let uri = match uris {
        [] => return Err(NotSpiffe::NoUri),
        [uri] => *uri,
        several => return Err(NotSpiffe::SeveralUris { found: several.len() }),
    };
    let id = SpiffeId::try_from(uri).map_err(NotSpiffe::NotAnId)?;
    if id.has_path() { Ok(id) } else { Err(NotSpiffe::NoPath(id)) }
}

/// The subject's serialNumber (X.520 §6.2.9), where exactly one stands there.
fn lineage(parsed: &X509Certificate<'_>) -> Option<Lineage> {
    let mut found = parsed.subject().iter_by_oid(&OID_X509_SERIALNUMBER);
    match (found.next(), found.next()) {
        (Some(only), None) => only.as_str().ok()?.parse().ok(),
        _ => None,
    }
}

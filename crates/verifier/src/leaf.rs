//! The leaf certificate: read once, and judged by the rules for X.509 SVIDs that path building omits.

use std::sync::OnceLock;

use countersign_identity::{KeyHash, Serial, SpiffeId, Validity};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::certificate::Certificate;
use crate::extension::Extensions;
use crate::peer::PeerFacts;
use crate::profile::{self, Place, ProfileRule};
use crate::refusal::{LeafRule, NotSpiffe, Refusal};

/// A certificate that names one workload; nothing about it is proven yet.
#[derive(Debug)]
pub(crate) struct Leaf<'a> {
    certificate: Certificate<'a>,
    der: &'a CertificateDer<'a>,
    spiffe_id: SpiffeId,
}

impl<'a> Leaf<'a> {
    /// Reads the certificate, and its name.
    pub(crate) fn read(der: &'a CertificateDer<'a>) -> Result<Self, Refusal> {
        let certificate = Certificate::read(der).map_err(|what| Refusal::Malformed { what })?;
        let spiffe_id = workload_id(&certificate.extensions).map_err(Refusal::NotSpiffe)?;
        Ok(Self { certificate, der, spiffe_id })
    }

    pub(crate) const fn der(&self) -> &CertificateDer<'a> {
        self.der
    }

    pub(crate) const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    pub(crate) const fn validity(&self) -> Validity {
        self.certificate.validity
    }

    pub(crate) const fn certificate(&self) -> &Certificate<'a> {
        &self.certificate
    }

    /// SPIFFE X509-SVID §4.1, §4.3, §4.4 and §5.2, then RFC 5280 §4.
    pub(crate) fn obey_rules(&self, provider: &CryptoProvider) -> Result<(), Refusal> {
        self.obey_svid_rules()
            .and_then(|()| self.obey_profile(provider))
            .map_err(|rule| Refusal::LeafRule { rule })
    }

    fn obey_svid_rules(&self) -> Result<(), LeafRule> {
        if self.certificate.is_ca() {
            return Err(LeafRule::IsCa);
        }
        let extensions = &self.certificate.extensions;
        let usage = extensions.key_usage.ok_or(LeafRule::NoKeyUsage)?;
        let broken = [
            (!usage.critical, LeafRule::KeyUsageNotCritical),
            (usage.value.key_cert_sign(), LeafRule::KeyCertSign),
            (usage.value.crl_sign(), LeafRule::CrlSign),
            (!usage.value.digital_signature(), LeafRule::NoDigitalSignature),
        ];
        if let Some((_, rule)) = broken.into_iter().find(|(broken, _)| *broken) {
            return Err(rule);
        }
        match extensions.purposes {
            Some(found) if !(found.server && found.client) => Err(LeafRule::ExtendedKeyUsage),
            _ => Ok(()),
        }
    }

    fn obey_profile(&self, provider: &CryptoProvider) -> Result<(), LeafRule> {
        if let Some(kind) = self.certificate.extensions.for_authorities {
            return Err(LeafRule::ForAuthorities { extension: kind.name });
        }
        profile::judge(&self.certificate, Place::Leaf).map_err(LeafRule::Profile)?;
        self.certificate
            .key
            .is_known(provider.signature_verification_algorithms.all)
            .map_err(|rule| LeafRule::Profile(ProfileRule::Key(rule)))
    }

    /// Its serial, where it has the form Countersign gives, and SHA-256 of its to-be-signed part.
    pub(crate) fn fingerprint(&self) -> Option<(Serial, [u8; 32])> {
        let serial = Serial::from_be_bytes(self.certificate.serial).ok()?;
        Some((serial, self.certificate.tbs_sha256()))
    }

    /// What the certificate says, under the key that signed it.
    pub(crate) fn facts(&self, issuer_key: KeyHash) -> PeerFacts {
        PeerFacts {
            spiffe_id: self.spiffe_id.clone(),
            serial: self.certificate.serial.to_vec(),
            lineage: self.certificate.lineage(),
            validity: self.certificate.validity,
            key_hash: self.certificate.key.hash(),
            issuer_key,
            thumbprint: OnceLock::new(),
            der: self.der.clone().into_owned(),
        }
    }
}

/// SHA-256 of a SubjectPublicKeyInfo.
pub(crate) fn key_hash(spki: &[u8]) -> KeyHash {
    KeyHash::from_bytes(Sha256::digest(spki).into())
}

fn workload_id(extensions: &Extensions<'_>) -> Result<SpiffeId, NotSpiffe> {
    let names = extensions.subject_names.map(|names| names.value).unwrap_or_default();
    let uri = match (names.uris, names.first_uri) {
        (1, Some(uri)) => uri,
        (0, _) | (_, None) => return Err(NotSpiffe::NoUri),
        (found, _) => return Err(NotSpiffe::SeveralUris { found }),
    };
    let id = SpiffeId::try_from(uri).map_err(NotSpiffe::NotAnId)?;
    if id.has_path() { Ok(id) } else { Err(NotSpiffe::NoPath(id)) }
}

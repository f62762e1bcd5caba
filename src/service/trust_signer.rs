//! The trust signer: the certificate and the pen under which trust snapshots go out (DESIGN §4).

use std::{path::Path, sync::Arc};

use countersign_identity::{KeyHash, Timestamp, Validity};
use countersign_issuance::{Signer, authority::TRUST_EPOCH};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{pem, root_hand::RootActError};

/// What a trust signer's certificate says.
#[derive(Clone, Debug)]
pub struct TrustSignerCertificate {
    /// The certificate.
    pub der: Vec<u8>,
    /// SHA-256 of its public key.
    pub key_hash: KeyHash,
    /// The epoch it signs for; only the root raises it.
    pub epoch: u64,
    /// When it is valid.
    pub validity: Validity,
}

/// A trust signer whose key is open.
#[derive(Clone)]
pub struct TrustSigner {
    certificate: TrustSignerCertificate,
    pen: Arc<dyn Signer>,
}

impl std::fmt::Debug for TrustSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustSigner").field("epoch", &self.certificate.epoch).finish_non_exhaustive()
    }
}

impl TrustSigner {
    pub(super) fn new(certificate: TrustSignerCertificate, pen: Arc<dyn Signer>) -> Self {
        Self { certificate, pen }
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &TrustSignerCertificate {
        &self.certificate
    }

    /// Its pen.
    #[must_use]
    pub fn pen(&self) -> &dyn Signer {
        &*self.pen
    }
}

/// The trust signer's certificate in the PEM file at `path`.
///
/// # Errors
/// When it is no certificate, or has no epoch.
pub(super) fn read(path: &Path) -> Result<TrustSignerCertificate, RootActError> {
    let der = pem::read_one(path)?;
    parse(&der).map_err(|why| RootActError::Unreadable { path: path.into(), why })
}

/// What a trust signer's certificate says; who signed it is not asked.
///
/// # Errors
/// In words, what is wrong with it.
pub(super) fn parse(der: &[u8]) -> Result<TrustSignerCertificate, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let epoch = certificate
        .extensions()
        .iter()
        .find(|extension| extension.oid.to_id_string() == TRUST_EPOCH)
        .and_then(|extension| number(extension.value))
        .ok_or_else(|| "it has no trust epoch: expected a trust signer's certificate".to_owned())?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_unix(time.timestamp());
    let found = certificate.validity();
    Ok(TrustSignerCertificate {
        der: der.to_vec(),
        key_hash: KeyHash::from_bytes(Sha256::digest(certificate.public_key().raw).into()),
        epoch,
        validity: Validity::new(at(found.not_before), at(found.not_after)).map_err(|e| e.to_string())?,
    })
}

/// A DER INTEGER that is no negative number and fits 64 bits.
fn number(der: &[u8]) -> Option<u64> {
    let [0x02, length, octets @ ..] = der else { return None };
    let positive = octets.first().is_some_and(|first| first & 0x80 == 0);
    if usize::from(*length) != octets.len() || octets.len() > 9 || !positive {
        return None;
    }
    octets.iter().try_fold(0_u64, |number, octet| number.checked_mul(256)?.checked_add((*octet).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_positive_integer_of_64_bits() {
        assert_eq!(number(&[2, 1, 1]), Some(1));
        assert_eq!(number(&[2, 2, 0, 0x80]), Some(128));
        assert_eq!(number(&[2, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255]), Some(u64::MAX));
        for bad in
            [&[2, 1, 0x80][..], &[2, 2, 1], &[2, 0], &[4, 1, 1], &[], &[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}

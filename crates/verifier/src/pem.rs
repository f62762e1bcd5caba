//! PEM files read into certificates, bundles and private keys.

use countersign_identity::{TrustBundle, TrustDomain};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// Why a PEM text could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The armour or the base64 inside is broken.
    #[error(
        "not readable as PEM ({0}): expected blocks of `-----BEGIN …-----`, base64 and `-----END …-----`"
    )]
    Broken(rustls::pki_types::pem::Error),
    /// No certificate among the blocks.
    #[error("no certificate found: expected at least one block `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// No private key among the blocks.
    #[error("no private key found: expected one block `-----BEGIN PRIVATE KEY-----` (unencrypted PKCS#8)")]
    NoKey,
}

/// Every certificate in a PEM text, in order; other blocks are passed over.
///
/// # Errors
/// When the armour is broken or holds no certificate.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found.map_err(PemError::Broken)? {
        certificates if certificates.is_empty() => Err(PemError::NoCertificate),
        certificates => Ok(certificates),
    }
}

/// Every revocation list in a PEM text, in order; other blocks are passed over.
///
/// # Errors
/// When the armour is broken.
pub fn crls_from_pem(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    found.map_err(PemError::Broken)
}

/// The certificates of a PEM text as the roots of `trust_domain`.
///
/// Whether each may be a root at all is judged when a [`TrustStore`](crate::TrustStore) takes the bundle.
///
/// # Errors
/// When the armour is broken or holds no certificate.
pub fn bundle_from_pem(trust_domain: TrustDomain, pem: &[u8]) -> Result<TrustBundle, PemError> {
    let roots = certificates_from_pem(pem)?.iter().map(|root| root.to_vec()).collect();
    Ok(TrustBundle::new(trust_domain, roots))
}

/// The first private key of a PEM text.
pub(crate) fn key_from_pem(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(PemError::NoKey),
        Err(broken) => Err(PemError::Broken(broken)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_without_a_certificate_says_what_was_expected() {
        let refused = certificates_from_pem(b"hello").expect_err("no certificate in there");
        assert!(refused.to_string().contains("BEGIN CERTIFICATE"), "{refused}");
    }

    #[test]
    fn broken_armour_is_refused_and_not_read_in_part() {
        let broken = b"-----BEGIN CERTIFICATE-----\n*not base64*\n-----END CERTIFICATE-----\n";
        assert!(matches!(certificates_from_pem(broken), Err(PemError::Broken(_))));
    }

    #[test]
    fn a_text_without_a_key_is_told_apart_from_a_broken_one() {
        assert!(matches!(key_from_pem(b""), Err(PemError::NoKey)));
    }
}

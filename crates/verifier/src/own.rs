//! The service's own identity: certificate chain and private key, replaceable while connections run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use zeroize::Zeroizing;

use crate::pem::{PemError, certificates_from_pem, key_from_pem};
use crate::provider::provider;
use crate::trust::TrustError;

/// A certificate chain and its private key, shown to peers as client and as server.
///
/// Replacing it affects every handshake after that and no connection before; readers take no lock.
pub struct OwnIdentity {
    current: ArcSwap<CertifiedKey>,
}

/// Why an identity or a TLS configuration could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A PEM text could not be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The private key is not that of the first certificate.
    #[error(
        "the private key does not belong to the first certificate: take both from the same enrollment, leaf first"
    )]
    KeyMismatch,
    /// A bundle to know the other side by cannot be trusted.
    #[error("cannot trust the bundle: {0}")]
    Bundle(Box<TrustError>),
    /// A hybrid key exchange is required of peers, and the provider has none.
    #[error(
        "a hybrid key exchange is required, and the provider has none: take aws-lc-rs, or do not require it"
    )]
    NoHybrid,
    /// The provider cannot use the key, or TLS cannot be configured.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl OwnIdentity {
    /// From DER: the leaf first, then its issuers, and the leaf's private key.
    ///
    /// # Errors
    /// When the key cannot be used, or is not that of the leaf.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<Self>, SetupError> {
        let certified = certify(chain, key, &provider())?;
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(certified) }))
    }

    /// From PEM texts; both may be the same text.
    ///
    /// # Errors
    /// When either cannot be read or used, or the key is not that of the first certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Arc<Self>, SetupError> {
        Self::new(certificates_from_pem(chain)?, key_from_pem(key)?)
    }

    /// From PEM files, as `countersign-agent` keeps them (`svid.pem`, `svid.key`).
    ///
    /// # Errors
    /// When a file cannot be read or used, or the key is not that of the first certificate.
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Arc<Self>, SetupError> {
        let key = Zeroizing::new(read(key.as_ref())?);
        Self::from_pem(&read(chain.as_ref())?, &key)
    }

    /// Takes another chain and key in the place of these.
    ///
    /// # Errors
    /// As [`OwnIdentity::new`]; what was held stays.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), SetupError> {
        self.current.store(Arc::new(certify(chain, key, &provider())?));
        Ok(())
    }

    /// Reads another chain and key from PEM files, as after a renewal.
    ///
    /// # Errors
    /// As [`OwnIdentity::from_files`]; what was held stays. A [`SetupError::KeyMismatch`] may mean that the files were
    /// replaced between two reads: try again.
    pub fn replace_from_files(
        &self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<(), SetupError> {
        let key = Zeroizing::new(read(key.as_ref())?);
        self.replace(certificates_from_pem(&read(chain.as_ref())?)?, key_from_pem(&key)?)
    }

    /// The chain shown now, leaf first.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().cert.clone()
    }
}

impl fmt::Debug for OwnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Invariant 8: a key never reaches a log, whatever its provider prints.
        f.debug_struct("OwnIdentity")
            .field("certificates", &self.current.load().cert.len())
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for OwnIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for OwnIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, SetupError> {
    let certified = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(SetupError::KeyMismatch),
        Err(fault) => Err(fault.into()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    std::fs::read(path).map_err(|source| SetupError::File { path: path.to_owned(), source })
}

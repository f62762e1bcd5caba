//! A pen whose key was read from a file into memory: P-256, ECDSA with SHA-256.

use countersign_issuance::{BoxFuture, Signer, SignerError, SigningAlgorithm};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

/// Signs with a key held in memory; fast enough to answer on the calling thread.
pub struct FileSigner {
    key: KeyPair,
    public_key: Vec<u8>,
}

/// Shows the kind, never the key (invariant 8).
impl std::fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileSigner(P-256)")
    }
}

/// A fresh P-256 key.
///
/// # Errors
/// When the operating system has no randomness.
pub fn new_key() -> Result<KeyPair, SignerError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|e| SignerError::Unavailable { why: e.to_string() })
}

impl FileSigner {
    /// A pen for `key`.
    #[must_use]
    pub fn new(key: KeyPair) -> Self {
        let public_key = key.subject_public_key_info();
        Self { key, public_key }
    }

    /// The key in PKCS#8, to be kept in a [`super::KeyFile`].
    #[must_use]
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.key.serialize_der())
    }

    /// A pen for a PKCS#8 key.
    ///
    /// # Errors
    /// When it is not a P-256 key.
    pub fn from_pkcs8(pkcs8: &Zeroizing<Vec<u8>>) -> Result<Self, SignerError> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map(Self::new)
            .map_err(|e| SignerError::Unavailable { why: format!("not a P-256 key: {e}") })
    }
}

impl Signer for FileSigner {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::EcdsaP256Sha256
    }

    fn sign<'a>(&'a self, tbs: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>> {
        let signature = self.key.sign(tbs).map_err(|e| SignerError::Unavailable { why: e.to_string() });
        Box::pin(std::future::ready(signature))
    }
}

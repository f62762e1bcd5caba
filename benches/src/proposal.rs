//! A new key and the request that asks for its certificate, made before anything is measured.

use anyhow::Result;
use countersign_api::RenewRequest;
use hyper::body::Bytes;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _};

/// A P-256 key never used before.
pub struct Proposal {
    key: KeyPair,
    csr: String,
}

impl Proposal {
    /// Draws a key and signs its request.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key)?.pem()?;
        Ok(Self { key, csr })
    }

    /// The request, PEM.
    #[must_use]
    pub fn csr(&self) -> &str {
        &self.csr
    }

    /// The body of `POST /v1/renew`.
    ///
    /// # Errors
    /// Never: text is always JSON.
    pub fn body(&self) -> Result<Bytes> {
        Ok(serde_json::to_vec(&RenewRequest { csr: self.csr.clone() })?.into())
    }

    /// The key, PKCS#8, PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The key's SubjectPublicKeyInfo, DER: what the certificate must carry.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }
}

//! A new key and the request that asks for its certificate, made before anything is measured.

use anyhow::Result;
use countersign_api::RenewRequest;
use hyper::body::Bytes;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _};

/// A P-256 key never used before.
pub(crate) struct Proposal {
    key: KeyPair,
    csr: String,
}

impl Proposal {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key)?.pem()?;
        Ok(Self { key, csr })
    }

    pub(crate) fn csr(&self) -> &str {
        &self.csr
    }

    /// The body of `POST /v1/renew`.
    pub(crate) fn body(&self) -> Result<Bytes> {
        Ok(serde_json::to_vec(&RenewRequest { csr: self.csr.clone() })?.into())
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The key's SubjectPublicKeyInfo, DER: what the certificate must carry.
    pub(crate) fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }
}

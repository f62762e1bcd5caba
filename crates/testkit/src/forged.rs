//! A forged certificate with its key and the chain above it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::mangle;

/// What a machine, honest or not, holds.
#[derive(Debug)]
pub struct Forged {
    /// Leaf first, then the issuers, the root last.
    pub(crate) full: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Forged {
    /// Leaf and issuers, without the root: what workloads send.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        match self.full.as_slice() {
            [above_root @ .., _root] if !above_root.is_empty() => above_root.to_vec(),
            alone => alone.to_vec(),
        }
    }

    /// Leaf, issuers and root: what the certificate authority's own server sends.
    #[must_use]
    pub fn chain_with_root(&self) -> Vec<CertificateDer<'static>> {
        self.full.clone()
    }

    /// The leaf.
    ///
    /// # Panics
    /// Never: there always is one.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        self.full.first().expect("a leaf")
    }

    /// The key pair.
    #[must_use]
    pub const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The private key as TLS takes it.
    #[must_use]
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// Leaf and issuers in PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain().iter().map(|der| to_pem("CERTIFICATE", der)).collect()
    }

    /// The private key in PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The same with one bit of the leaf's signature turned over.
    #[must_use]
    pub fn with_broken_signature(self) -> Self {
        self.with_leaf(mangle::broken_signature)
    }

    /// The same with another leaf made from this one's DER.
    #[must_use]
    pub fn with_leaf(mut self, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        if let Some(leaf) = self.full.first_mut() {
            *leaf = change(leaf).into();
        }
        self
    }
}

/// One PEM block.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

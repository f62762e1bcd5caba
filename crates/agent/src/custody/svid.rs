//! One identity as it is handed out: chain and key, in the forms that processes take.

use std::fs;
use std::path::Path;

use countersign_api::pem_block;
use countersign_identity::{Serial, SpiffeId, Validity};
use countersign_verifier::certificates_from_pem;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::error::AgentError;
use crate::generation;
use crate::identity::{self, Identity};

/// A certificate with its key, read from one generation: the two belong together.
pub(crate) struct Svid {
    id: SpiffeId,
    serial: Serial,
    validity: Validity,
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<Vec<u8>>,
}

impl Svid {
    /// What is published as this identity.
    pub(crate) fn read(identity: &Identity) -> Result<Self, AgentError> {
        let damaged = |what: String| {
            AgentError::failed(format!("{}: {what}", identity.home().display())).with_hint(identity::ANEW)
        };
        identity.own().map_err(|error| damaged(error.to_string()))?;
        let chain = file(identity.home(), generation::SVID)?;
        let chain = certificates_from_pem(&chain).map_err(|error| damaged(error.to_string()))?;
        let key = Zeroizing::new(file(identity.home(), generation::KEY)?);
        let key = PrivatePkcs8KeyDer::from_pem_slice(&key).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            id: identity.spiffe_id().clone(),
            serial: identity.serial(),
            validity: identity.validity(),
            chain,
            key: Zeroizing::new(key.secret_pkcs8_der().to_vec()),
        })
    }

    /// The roots published beside this identity.
    pub(crate) fn roots(identity: &Identity) -> Result<Vec<CertificateDer<'static>>, AgentError> {
        let bundle = file(identity.home(), generation::BUNDLE)?;
        certificates_from_pem(&bundle)
            .map_err(|error| AgentError::failed(format!("{}: {error}", identity.home().display())))
    }

    pub(crate) const fn id(&self) -> &SpiffeId {
        &self.id
    }

    pub(crate) const fn serial(&self) -> Serial {
        self.serial
    }

    pub(crate) const fn validity(&self) -> Validity {
        self.validity
    }

    /// The certificates one after the other, leaf first (SPIFFE Workload API §5.2.1).
    pub(crate) fn chain_der(&self) -> Vec<u8> {
        concatenated(&self.chain)
    }

    /// The same as PEM.
    pub(crate) fn chain_pem(&self) -> String {
        pem(&self.chain)
    }

    /// The key as unencrypted PKCS#8.
    pub(crate) fn key_der(&self) -> &[u8] {
        &self.key
    }

    /// The same as PEM.
    pub(crate) fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem_block("PRIVATE KEY", &self.key))
    }
}

/// Whose it is, never the key (invariant 8).
impl std::fmt::Debug for Svid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Svid").field("id", &self.id).field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// Certificates one after the other.
pub(crate) fn concatenated(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    certificates.iter().flat_map(|certificate| certificate.iter().copied()).collect()
}

/// Certificates as PEM.
pub(crate) fn pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| pem_block("CERTIFICATE", certificate)).collect()
}

fn file(home: &Path, name: &str) -> Result<Vec<u8>, AgentError> {
    let path = home.join(name);
    fs::read(&path).map_err(|error| AgentError::file("read", &path, &error))
}

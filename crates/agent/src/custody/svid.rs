//! One identity as it is handed out: chain and key, in the forms that processes take.

use std::fs;
use std::path::Path;

use countersign_api::pem_block;
use countersign_identity::{Serial, SpiffeId, Validity};
use countersign_verifier::{OwnIdentity, certificates_from_pem};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::at_rest::AtRest;
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
    /// What is published as the machine's identity.
    pub(crate) fn read(identity: &Identity) -> Result<Self, AgentError> {
        let key = file(identity.home(), generation::KEY)?;
        let damaged = |what: String| {
            AgentError::failed(format!("{}: {what}", identity.home().display())).with_hint(identity::ANEW)
        };
        let key = AtRest::Clear.open(&key).ok_or_else(|| damaged("its key is no text".into()))?;
        Self::of(identity, &key).map_err(damaged)
    }

    /// What is published as a workload's identity; `None` where its key does not open.
    pub(crate) fn of_workload(identity: &Identity, at_rest: &AtRest) -> Result<Option<Self>, AgentError> {
        let Some(key) = at_rest.open(&file(identity.home(), generation::KEY)?) else { return Ok(None) };
        let damaged = |what: String| AgentError::failed(format!("{}: {what}", identity.home().display()));
        Self::of(identity, &key).map(Some).map_err(damaged)
    }

    /// Certificate and key, if TLS can use the two together.
    fn of(identity: &Identity, key: &str) -> Result<Self, String> {
        let said = |error: &dyn std::error::Error| error.to_string();
        let chain = fs::read(identity.home().join(generation::SVID)).map_err(|error| said(&error))?;
        let chain = certificates_from_pem(&chain).map_err(|error| said(&error))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|error| said(&error))?;
        OwnIdentity::new(chain.clone(), PrivateKeyDer::from(key.clone_key()))
            .map_err(|error| said(&error))?;
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

    /// Leaf, issuer.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
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

fn file(home: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>, AgentError> {
    let path = home.join(name);
    fs::read(&path).map(Zeroizing::new).map_err(|error| AgentError::file("read", &path, &error))
}

//! A machine's own directory, as `--as` names it: certificate, key and roots.

use std::{path::Path, sync::Arc};

use countersign_verifier::{certificates_from_pem, provider};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{
    CliError,
    certificate::CertificateFacts,
    endpoint::{HostPort, Met},
};

/// What a machine's directory holds, ready for a handshake.
pub(super) struct Own {
    /// Leaf first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// What the leaf says.
    pub(super) leaf: CertificateFacts,
    /// The roots in its bundle.
    pub(super) roots: Vec<CertificateDer<'static>>,
    key: Arc<CertifiedKey>,
}

impl Own {
    /// Reads `svid.pem`, `svid.key` and `bundle.pem`, as `countersign-agent enroll` leaves them.
    pub(super) fn read(dir: &Path) -> Result<Self, CliError> {
        let failed = |name: &str, error: &dyn std::fmt::Display| {
            CliError::failed(format_args!("cannot read {}: {error}", dir.join(name).display()))
                .hint("--as names a directory that `countersign-agent enroll --dir` made")
        };
        let certificates = |name: &str| {
            let octets = std::fs::read(dir.join(name)).map_err(|error| failed(name, &error))?;
            certificates_from_pem(&octets).map_err(|error| failed(name, &error))
        };
        let (chain, roots) = (certificates("svid.pem")?, certificates("bundle.pem")?);
        let first = chain.first().ok_or_else(|| failed("svid.pem", &"it holds no certificate"))?;
        let leaf = CertificateFacts::read(first).map_err(|why| failed("svid.pem", &why))?;
        let key = PrivateKeyDer::from_pem_file(dir.join("svid.key")).map_err(|e| failed("svid.key", &e))?;
        let key = CertifiedKey::from_der(chain.clone(), key, &provider())
            .map_err(|error| failed("svid.key", &error))?;
        Ok(Self { chain, leaf, roots, key: Arc::new(key) })
    }

    /// Handshakes as this machine.
    pub(super) fn meet(&self, endpoint: &HostPort) -> Result<Met, CliError> {
        endpoint.meet_as(provider(), Some(Arc::clone(&self.key)))
    }
}

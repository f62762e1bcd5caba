//! The CA's own server certificate, `spiffe://TD/countersign/ca`: a new key each time, never on disk.

use std::time::Duration;

use countersign_identity::{Lineage, Validity};
use countersign_issuance::{Act, ProvenKey, approve_own};
use rcgen::CertificateParams;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Ca, Refused};
use crate::signer::new_key;

/// A day: long enough to sleep through a bad night of the store, short enough that nobody tends it.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Chain and key of the CA's TLS server.
#[derive(Debug)]
pub struct ServerCertificate {
    /// Leaf, issuer, root: machines that know only the root's hash need the root itself.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// When it is valid.
    pub validity: Validity,
}

impl Ca {
    /// Issues a new server certificate through the same corridor as any other.
    ///
    /// # Errors
    /// When the issuer is about to end, or the book or the pen fails.
    pub async fn issue_server_certificate(&self) -> Result<ServerCertificate, Refused> {
        let key = new_key()?;
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .map_err(|e| Refused::File(format!("cannot write the CA's own request: {e}")))?;
        let proven = ProvenKey::from_csr(csr.der(), self.algorithms())?;
        let keys = self.keys();
        let approved = approve_own(proven, self.reserved(), LIFE, &self.house(&keys), self.now())?;
        let lineage = Lineage::from_random(self.entropy().octets());
        let issued = self.walk_corridor(approved, lineage, Act::Own, &keys).await?;
        self.metrics().count_issued("own");
        Ok(ServerCertificate {
            validity: issued.validity(),
            chain: [issued.der(), keys.issuer().der(), keys.root().der()]
                .map(|der| CertificateDer::from(der.to_vec()))
                .to_vec(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }
}

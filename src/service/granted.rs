//! What a machine takes home: a certificate, its issuer, and when to come back.

use countersign_identity::{MachineId, Timestamp, Validity};
use countersign_issuance::Profile;
use countersign_store::IssuedCertificate;

use super::{Ca, KeySet, Refused, pem};

/// A certificate that may be answered: its intent was durable before it was signed.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The machine.
    pub machine: MachineId,
    /// When the certificate is valid.
    pub validity: Validity,
    /// When to renew: not before the first, not after the second.
    pub window: (Timestamp, Timestamp),
    chain: [Vec<u8>; 2],
}

impl Granted {
    pub(super) fn new(
        machine: MachineId,
        validity: Validity,
        profile: &Profile,
        leaf: &[u8],
        issuer: &[u8],
    ) -> Self {
        Self {
            machine,
            validity,
            window: profile.renewal_window(&validity),
            chain: [leaf.to_vec(), issuer.to_vec()],
        }
    }

    /// Leaf first, then the issuer.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| pem::encode("CERTIFICATE", der)).collect()
    }
}

impl Ca {
    /// The certificate of an earlier answer that may have been lost on the way, if it was kept and is still good.
    pub(super) fn granted_before(
        &self,
        keys: &KeySet,
        machine: MachineId,
        kept: &IssuedCertificate,
    ) -> Result<Option<Granted>, Refused> {
        let Some(leaf) = kept.certificate.as_ref().filter(|_| kept.issuance.is_live(self.now())) else {
            return Ok(None);
        };
        let profile = self.profile(&kept.issuance.profile)?;
        let issuer = keys.issuers().iter().find(|one| one.key_hash() == kept.issuance.issuer);
        Ok(issuer.map(|issuer| Granted::new(machine, kept.issuance.validity, &profile, leaf, issuer.der())))
    }

    /// The profile of that name, as it stands now.
    pub(super) fn profile(&self, name: &str) -> Result<Profile, Refused> {
        let profiles = self.profiles();
        profiles.get(name).cloned().ok_or_else(|| Refused::ProfileUnknown {
            found: name.to_owned(),
            known: profiles.names().collect::<Vec<_>>().join(", "),
        })
    }
}

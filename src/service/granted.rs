//! What a machine takes home: a certificate, its issuer, and when to come back.

use std::{net::IpAddr, sync::Arc};

use countersign_identity::{MachineId, Timestamp, Validity};
use countersign_issuance::{Profile, Registration};
use countersign_store::IssuedCertificate;

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

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
    /// The certificate of an earlier answer that may have been lost on the way, if it was kept, is still good, and has
    /// the names the registration gives now (invariant 3).
    pub(super) fn granted_before(
        &self,
        keys: &KeySet,
        machine: MachineId,
        kept: &IssuedCertificate,
        registration: &Registration,
    ) -> Result<Option<Granted>, Refused> {
        let good = |leaf: &&Arc<[u8]>| kept.issuance.is_live(self.now()) && has_names_of(leaf, registration);
        let Some(leaf) = kept.certificate.as_ref().filter(good) else { return Ok(None) };
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

/// Whether a certificate of ours carries exactly the DNS names and addresses of the registration.
fn has_names_of(leaf: &[u8], registration: &Registration) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    let (mut dns, mut addresses) = (Vec::new(), Vec::new());
    for name in &names.value.general_names {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => addresses.push(octets.to_vec()),
            _ => {}
        }
    }
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    dns == registration.dns.iter().map(ToString::to_string).collect::<Vec<_>>()
        && addresses == registration.ip.iter().map(octets).collect::<Vec<_>>()
}

//! After a restore: certificates that this CA gave in the time the backup does not know.

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Validity};
use countersign_issuance::{LedgerError, Source};
use countersign_store::{IssuerState, Met, Unbooked};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Ca, Refused};

/// A certificate that proved good by its path, and that the book does not know.
#[derive(Clone, Debug)]
pub struct Forgotten<'a> {
    /// Its serial.
    pub serial: Serial,
    /// Its identity.
    pub spiffe_id: &'a SpiffeId,
    /// The lineage it names.
    pub lineage: Option<Lineage>,
    /// Its key.
    pub key_hash: KeyHash,
    /// When it is valid.
    pub validity: Validity,
    /// The key that vouched for it.
    pub issuer: KeyHash,
    /// The certificate.
    pub der: &'a [u8],
}

impl Ca {
    /// Meets such a certificate at the renewal door. Good is only the newest step of a lineage that the book knows: then
    /// its machine may renew.
    ///
    /// # Errors
    /// That it is unknown, revoked, or that its machine waits for an operator.
    pub async fn meet_forgotten(&self, forgotten: &Forgotten<'_>, source: Source) -> Result<(), Refused> {
        let unknown = || Refused::CertificateUnknown(forgotten.serial.to_string());
        let unbooked = self.unbooked(forgotten)?.ok_or_else(unknown)?;
        match self.book().meet(unbooked, source, self.now()).await? {
            Met::Continued { machine } => {
                tracing::info!(%machine, serial = %forgotten.serial, "a machine goes on from before the restore");
                Ok(())
            }
            Met::NotActive { machine, status } => {
                tracing::warn!(%machine, %status, id = %forgotten.spiffe_id, "a machine of the forgotten time");
                Err(status.refusal().map_or_else(unknown, |refusal| LedgerError::Refused(refusal).into()))
            }
            Met::Revoked => {
                let serial = forgotten.serial.to_string();
                Err(Refused::CertificateRevoked { id: forgotten.spiffe_id.clone(), serial })
            }
            Met::Foreign => Err(unknown()),
        }
    }

    /// Whether a certificate that the book does not know may be one of the forgotten time, and is not revoked.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn may_be_forgotten(&self, forgotten: &Forgotten<'_>) -> Result<bool, Refused> {
        Ok(self.is_by_our_issuer(forgotten.issuer)?
            && self.book().may_be_forgotten(forgotten.serial, forgotten.validity)?)
    }

    /// As the book wants to hear of it; nothing if it cannot be one of ours. A lineage is believed only under our own
    /// issuers (DESIGN §3).
    fn unbooked(&self, forgotten: &Forgotten<'_>) -> Result<Option<Unbooked>, Refused> {
        let Some(lineage) = forgotten.lineage else { return Ok(None) };
        let Ok((_, certificate)) = X509Certificate::from_der(forgotten.der) else { return Ok(None) };
        if forgotten.spiffe_id.is_reserved() || !self.is_by_our_issuer(forgotten.issuer)? {
            return Ok(None);
        }
        Ok(Some(Unbooked {
            machine: MachineId::from_random(self.entropy().octets()),
            serial: forgotten.serial,
            spiffe_id: forgotten.spiffe_id.clone(),
            lineage,
            key_hash: forgotten.key_hash,
            validity: forgotten.validity,
            issuer: forgotten.issuer,
            tbs: certificate.tbs_certificate.as_ref().to_vec(),
            certificate: forgotten.der.to_vec(),
        }))
    }

    fn is_by_our_issuer(&self, key: KeyHash) -> Result<bool, Refused> {
        let issuers = self.book().issuers()?;
        Ok(issuers.iter().any(|issuer| issuer.key_hash == key && issuer.state != IssuerState::Revoked))
    }
}

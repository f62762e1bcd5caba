//! Standing: all that a door must know about the holder of a certificate, read in one moment.

use countersign_identity::{KeyHash, Serial};
use countersign_issuance::Registration;

use crate::issuances::{self, Issuance};
use crate::lineage::LineageState;
use crate::machines::{self, Machine};
use crate::rows::Rows;
use crate::{StoreError, registrations};

/// All that is known about the holder of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The certificate.
    pub issuance: Issuance,
    /// Its machine; none for the CA's own certificate.
    pub machine: Option<Machine>,
    /// Where the certificate stands in the machine's lineage.
    pub lineage: Option<LineageState>,
    /// The identity's registration, if it still stands.
    pub registration: Option<Registration>,
    /// The certificate the machine was given and has not presented: a retry with the same key gets it again, by
    /// [`Store::issuance`](crate::Store::issuance).
    pub pending: Option<Pending>,
}

/// A certificate that was given and not presented yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Its serial.
    pub serial: Serial,
    /// Its key.
    pub key_hash: KeyHash,
}

pub(crate) fn of(rows: &impl Rows, serial: Serial) -> Result<Option<Standing>, StoreError> {
    let Some(issuance) = issuances::get(rows, serial)? else { return Ok(None) };
    let machine = issuance.machine.map(|id| machines::get(rows, id)).transpose()?.flatten();
    let lineage = machine.as_ref().map(|machine| machine.state_of(&issuance));
    let registration = registrations::get(rows, &issuance.spiffe_id)?;
    let pending = machine.as_ref().and_then(|machine| machine.pending);
    let pending = pending.map(|step| Pending { serial: step.serial, key_hash: step.key_hash });
    Ok(Some(Standing { issuance, machine, lineage, registration, pending }))
}

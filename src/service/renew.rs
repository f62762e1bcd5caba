//! Renewing: the certificate proves who asks, the book says what they get (DESIGN §3). The old certificate
//! grants nothing by itself.

use std::time::Duration;

use countersign_identity::{KeyHash, Serial};
use countersign_issuance::{
    Act, LedgerError, LedgerRefusal, OnClone, ProvenKey, Registration, Source, approve,
};
use countersign_store::{Door, LineageState, Machine, MachineStatus, Presentation, Standing};

use super::{Ca, Granted, Refused};

/// What a machine brings, after its certificate was verified.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The serial of the certificate it presented.
    pub presented: Serial,
    /// The request for the next one, DER.
    pub csr: Vec<u8>,
    /// Where it came from.
    pub source: Source,
}

impl Ca {
    /// The next certificate of a lineage. Registration, status and profile are read anew each time (invariant 3).
    ///
    /// # Errors
    /// Every reason not to issue.
    pub async fn renew(&self, renewal: Renewal) -> Result<Granted, Refused> {
        let standing = self
            .book()
            .standing(renewal.presented)?
            .ok_or_else(|| Refused::CertificateUnknown(renewal.presented.to_string()))?;
        let (machine, registration) = self.entitled(&standing, renewal.source).await?;
        self.rates().machine(machine.id).map_err(|wait| self.too_often(&machine, wait))?;
        let key = ProvenKey::from_csr(&renewal.csr, self.algorithms())?;
        let new = key.key_hash();
        if let Some(granted) = self.pending_again(&standing, &machine, new, &registration)? {
            return Ok(granted);
        }
        let profile = self.profile(&registration.profile)?;
        let keys = self.keys();
        let approved = approve(key, &registration, &profile, &self.house(&keys), self.now())?;
        let act = Act::Renew { machine: machine.id, presented: renewal.presented, source: renewal.source };
        let issued = match self.walk_corridor(approved, machine.lineage, act, &keys).await {
            // An earlier request with this key was being signed while this one was judged. The book has found machine,
            // registration and lineage good in the same step, before it looked at the key.
            Err(used @ Refused::Ledger(LedgerError::Refused(LedgerRefusal::KeyInUse))) => {
                let given = self.book().standing(renewal.presented)?;
                let given = given.map(|now| self.pending_again(&now, &machine, new, &registration));
                return given.transpose()?.flatten().ok_or(used);
            }
            walked => walked?,
        };
        self.metrics().count_issued("renew");
        tracing::debug!(machine = %machine.id, serial = %issued.serial(), "renewed");
        Ok(Granted::new(machine.id, issued.validity(), &profile, issued.der(), keys.issuer().der()))
    }

    /// A machine asked more often than it may.
    pub(super) fn too_often(&self, machine: &Machine, wait: Duration) -> Refused {
        Refused::TooOften {
            id: machine.spiffe_id.clone(),
            limit: self.limits().renewals_per_minute_per_machine,
            retry_after: wait.as_secs() + 1,
        }
    }

    /// A certificate presented anywhere but at renewal: it is judged, never accused (DESIGN §3).
    ///
    /// # Errors
    /// When the book cannot be read, or takes no writes.
    pub async fn present_elsewhere(&self, presented: Serial) -> Result<Presentation, Refused> {
        Ok(self.book().present(presented, Door::Other, self.now()).await?)
    }

    /// An expired certificate of ours was shown: worth an event, never an accusation.
    pub async fn note_expired(&self, presented: Serial, source: Source) {
        if !self.rates().refusal_counts(&presented.to_string()) {
            return;
        }
        let door = Door::Renewal { on_clone: OnClone::Report, source };
        if let Err(error) = self.book().present(presented, door, self.now()).await {
            tracing::warn!(%error, serial = %presented, "an expired certificate was shown and not written down");
        }
    }

    /// The machine and registration behind a certificate that may renew.
    async fn entitled(
        &self,
        standing: &Standing,
        source: Source,
    ) -> Result<(Machine, Registration), Refused> {
        let issuance = &standing.issuance;
        let serial = issuance.serial;
        let machine =
            standing.machine.clone().ok_or_else(|| Refused::CertificateUnknown(serial.to_string()))?;
        may_act(machine.status)?;
        if machine.parent.is_some() {
            return Err(LedgerError::Refused(LedgerRefusal::IsWorkload).into());
        }
        if !matches!(standing.lineage, Some(LineageState::Confirmed | LineageState::Pending)) {
            return Err(self.older(standing, source).await?);
        }
        if issuance.revoked.is_some() {
            let id = issuance.spiffe_id.clone();
            return Err(Refused::CertificateRevoked { id, serial: serial.to_string() });
        }
        match standing.registration.clone() {
            Some(registration) => Ok((machine, registration)),
            None => Err(LedgerError::Refused(LedgerRefusal::RegistrationGone).into()),
        }
    }

    /// A certificate that is neither confirmed nor pending: the book judges whether a second holder is about.
    async fn older(&self, standing: &Standing, source: Source) -> Result<Refused, Refused> {
        let issuance = &standing.issuance;
        let on_clone = self.profile(&issuance.profile)?.on_clone();
        let door = Door::Renewal { on_clone, source };
        let id = issuance.spiffe_id.clone();
        let serial = issuance.serial.to_string();
        // The first showing has done what the profile says; the hundredth in a minute is not worth a write.
        if !self.rates().refusal_counts(&serial) {
            return Ok(Refused::Superseded { id });
        }
        Ok(match self.book().present(issuance.serial, door, self.now()).await? {
            // Another request changed the lineage between our look and the book's.
            Presentation::Current { .. }
            | Presentation::Confirmed { .. }
            | Presentation::NotActive { .. } => LedgerError::Refused(LedgerRefusal::LineageMoved).into(),
            Presentation::Revoked { .. } => Refused::CertificateRevoked { id, serial },
            Presentation::Unknown => Refused::CertificateUnknown(serial),
            Presentation::Clone { action, .. } => {
                tracing::warn!(%id, serial, ?action, "two holders of one lineage");
                Refused::Superseded { id }
            }
            Presentation::Expired { .. } | Presentation::Older { .. } => Refused::Superseded { id },
        })
    }

    /// Same confirmed certificate and same new key: the pending certificate again (DESIGN §3 Lineage).
    fn pending_again(
        &self,
        standing: &Standing,
        machine: &Machine,
        key: KeyHash,
        registration: &Registration,
    ) -> Result<Option<Granted>, Refused> {
        let Some(pending) = standing.pending.as_ref().filter(|pending| pending.key_hash == key) else {
            return Ok(None);
        };
        match self.book().issuance(pending.serial)? {
            Some(kept) => self.granted_before(&self.keys(), machine.id, &kept, registration),
            None => Ok(None),
        }
    }
}

/// Only an active machine is given anything.
pub(super) fn may_act(status: MachineStatus) -> Result<(), Refused> {
    match status.refusal() {
        Some(refusal) => Err(LedgerError::Refused(refusal).into()),
        None => Ok(()),
    }
}

//! What a machine does for its workloads: it learns which it has, and fetches certificates for them.

use std::{sync::Arc, time::Duration};

use countersign_identity::{Lineage, MachineId, Serial, SpiffeId};
use countersign_issuance::{Act, LedgerError, LedgerRefusal, ProvenKey, Registration, Source, approve};
use countersign_store::Machine;

use super::{Ca, Granted, Refused, renew::may_act};

/// How often a race with another request for the same workload is looked at again.
const TRIES: usize = 3;

/// What a machine asks on behalf of a workload.
#[derive(Clone, Debug)]
pub struct WorkloadWish {
    /// The serial of the machine's own certificate.
    pub presented: Serial,
    /// The workload's identity.
    pub spiffe_id: SpiffeId,
    /// The request, DER.
    pub csr: Vec<u8>,
    /// Where it came from.
    pub source: Source,
}

impl Ca {
    /// A certificate for one of a machine's workloads. The same key gets the same certificate again.
    ///
    /// # Errors
    /// Every reason not to issue.
    pub async fn workload(&self, wish: WorkloadWish) -> Result<Granted, Refused> {
        let mut tries = 1;
        loop {
            match self.try_workload(&wish).await {
                // Another request for the same workload was first: this one goes on from what that has left.
                Err(Refused::Ledger(LedgerError::Refused(
                    LedgerRefusal::LineageMoved
                    | LedgerRefusal::KeyInUse
                    | LedgerRefusal::SerialTaken
                    | LedgerRefusal::RegistrationChanged,
                ))) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    async fn try_workload(&self, wish: &WorkloadWish) -> Result<Granted, Refused> {
        let parent = self.acting_machine(wish.presented)?;
        let registration = self.child(&parent, &wish.spiffe_id)?;
        let known = self.book().workload(parent.id, &registration.id)?;
        let known = known.filter(|workload| !workload.status.has_ended());
        if let Some(workload) = &known {
            may_act(workload.status)?;
        }
        let (id, lineage) = match &known {
            Some(workload) => (workload.id, workload.lineage),
            None => (
                MachineId::from_random(self.entropy().octets()),
                Lineage::from_random(self.entropy().octets()),
            ),
        };
        // A first request has no id of its own yet that a limit could count.
        let counted = known.as_ref().unwrap_or(&parent);
        self.rates().machine(counted.id).map_err(|wait| self.too_often(counted, wait))?;
        let key = ProvenKey::from_csr(&wish.csr, self.algorithms())?;
        if let Some(granted) = self.given_before(known.as_ref(), &key, &registration)? {
            return Ok(granted);
        }
        let profile = self.profile(&registration.profile)?;
        let keys = self.keys();
        let approved = approve(key, &registration, &profile, &self.house(&keys), self.now())?;
        let act = Act::Workload { parent: parent.id, workload: id, source: wish.source };
        let issued = self.walk_corridor(approved, lineage, act, &keys).await?;
        self.metrics().count_issued("workload");
        tracing::debug!(workload = %id, parent = %parent.id, serial = %issued.serial(), "issued to a workload");
        Ok(Granted::new(id, issued.validity(), &profile, issued.der(), keys.issuer().der()))
    }

    /// The newest certificate of a workload, if it is for this key.
    fn given_before(
        &self,
        known: Option<&Machine>,
        key: &ProvenKey,
        registration: &Registration,
    ) -> Result<Option<Granted>, Refused> {
        let Some(workload) = known.filter(|one| one.confirmed.key_hash == key.key_hash()) else {
            return Ok(None);
        };
        match self.book().issuance(workload.confirmed.serial)? {
            Some(kept) => self.granted_before(&self.keys(), workload.id, &kept, registration),
            None => Ok(None),
        }
    }

    /// The active machine, no workload itself, that holds the certificate with this serial.
    pub(super) fn acting_machine(&self, presented: Serial) -> Result<Machine, Refused> {
        let standing = self.book().standing(presented)?;
        let machine = standing.and_then(|standing| standing.machine);
        let machine = machine.ok_or_else(|| Refused::CertificateUnknown(presented.to_string()))?;
        may_act(machine.status)?;
        if machine.parent.is_some() {
            return Err(LedgerError::Refused(LedgerRefusal::IsWorkload).into());
        }
        Ok(machine)
    }

    /// The registration of an identity under this machine.
    pub(super) fn child(&self, parent: &Machine, id: &SpiffeId) -> Result<Registration, Refused> {
        let registration = self.book().registration(id)?;
        registration
            .filter(|one| one.parent.as_ref() == Some(&parent.spiffe_id))
            .ok_or_else(|| LedgerError::Refused(LedgerRefusal::NotItsWorkload).into())
    }

    /// The registrations under the machine with this certificate, as soon as they have changed since `after`; after
    /// `patience` as they are.
    ///
    /// # Errors
    /// When the caller is no active machine, or the book cannot be read.
    pub async fn children(
        self: &Arc<Self>,
        presented: Serial,
        after: Option<u64>,
        patience: Duration,
    ) -> Result<(u64, Vec<Registration>), Refused> {
        let parent = self.acting_machine(presented)?.spiffe_id;
        if let Some(after) = after {
            let mut changes = self.book().children_sequence();
            let mut stopping = self.stopping();
            let changed = async {
                while self.book().children_changed(&parent).is_ok_and(|newest| newest <= after) {
                    if changes.changed().await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = changed => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = tokio::time::sleep(patience) => {}
            }
            // It may have been suspended while it waited.
            self.acting_machine(presented)?;
        }
        Ok(self.book().children(&parent)?)
    }

    /// A certificate of the machine or one of its workloads was seen being served.
    ///
    /// # Errors
    /// When the serial is not one of theirs.
    pub async fn deployed(&self, presented: Serial, seen: Serial, address: String) -> Result<(), Refused> {
        let caller = self.acting_machine(presented)?;
        let foreign = || Refused::Parameter {
            what: "serial",
            found: seen.to_string(),
            expected: "a live certificate of this machine or of one of its workloads".into(),
        };
        let standing = self.book().standing(seen)?.ok_or_else(foreign)?;
        let holder = standing.machine.ok_or_else(foreign)?;
        if holder.id != caller.id && holder.parent != Some(caller.id) {
            return Err(foreign());
        }
        Ok(self.book().deployed(holder.id, seen, address, self.now()).await?)
    }
}

//! Coming back after expiry: the old key proves who asks, everything else is checked as if it were the first time.

use countersign_identity::{KeyHash, Lineage, SpiffeId};
use countersign_issuance::{Act, LedgerError, LedgerRefusal, ProvenKey, Source, approve};
use countersign_store::{Claim, Machine};

use super::{Ca, Granted, Refused};

/// What a machine brings, after its certificate was found good in everything but its time.
#[derive(Clone, Debug)]
pub struct Return {
    /// The identity in the expired certificate.
    pub spiffe_id: SpiffeId,
    /// The lineage in it.
    pub lineage: Option<Lineage>,
    /// The key it was proven by.
    pub key: KeyHash,
    /// The request for the next one, DER.
    pub csr: Vec<u8>,
    /// Where it came from.
    pub source: Source,
}

impl Ca {
    /// The next certificate of a machine whose last one has expired: once, within the time its profile allows, unless
    /// something speaks against it.
    ///
    /// # Errors
    /// Every reason not to issue.
    pub async fn recover(&self, back: Return) -> Result<Granted, Refused> {
        let machine = self.returning(&back)?;
        self.rates().machine(machine.id).map_err(|wait| self.too_often(&machine, wait))?;
        let registration = self.book().registration(&machine.spiffe_id)?;
        let registration = registration.ok_or(LedgerError::Refused(LedgerRefusal::RegistrationGone))?;
        let profile = self.profile(&registration.profile)?;
        let key = ProvenKey::from_csr(&back.csr, self.algorithms())?;
        let new = key.key_hash();
        if let Some(granted) = self.returned_before(&machine, &back, new, &registration)? {
            return Ok(granted);
        }
        let (allowance, approval) = (profile.recovery(), profile.approve_recovery());
        let claim = Claim { presented: back.key, allowance, approval, source: back.source };
        let now = self.now();
        machine.may_recover(&claim, now).map_err(LedgerError::Refused)?;
        if approval && !machine.recovery.is_some_and(|recovery| recovery.approved || recovery.unconfirmed) {
            self.book().ask_recovery(machine.id, claim, now).await?;
            tracing::warn!(machine = %machine.id, id = %machine.spiffe_id, "wants to come back: countersign machines approve");
            return Err(LedgerError::Refused(LedgerRefusal::MachineHeld).into());
        }
        let keys = self.keys();
        let approved = approve(key, &registration, &profile, &self.house(&keys), now)?;
        let Claim { presented, source, .. } = claim;
        let act = Act::Recover { machine: machine.id, presented, allowance, approval, source };
        let issued = match self.walk_corridor(approved, machine.lineage, act, &keys).await {
            // An earlier request with this key was being signed while this one was judged.
            Err(used @ Refused::Ledger(LedgerError::Refused(LedgerRefusal::KeyInUse))) => {
                let machine = self.returning(&back)?;
                return self.returned_before(&machine, &back, new, &registration)?.ok_or(used);
            }
            walked => walked?,
        };
        self.metrics().count_issued("recover");
        tracing::info!(machine = %machine.id, id = %machine.spiffe_id, serial = %issued.serial(), "recovered");
        Ok(Granted::new(machine.id, issued.validity(), &profile, issued.der(), keys.issuer().der()))
    }

    /// The machine that a lineage under our own issuers speaks of.
    fn returning(&self, back: &Return) -> Result<Machine, Refused> {
        let unknown = || Refused::Ledger(LedgerError::Refused(LedgerRefusal::MachineUnknown));
        let lineage = back.lineage.ok_or_else(unknown)?;
        let machine = self.book().holder(lineage)?.ok_or_else(unknown)?;
        if machine.spiffe_id == back.spiffe_id { Ok(machine) } else { Err(unknown()) }
    }

    /// What an earlier request with this key was given and may never have received.
    fn returned_before(
        &self,
        machine: &Machine,
        back: &Return,
        key: KeyHash,
        registration: &countersign_issuance::Registration,
    ) -> Result<Option<Granted>, Refused> {
        let same = machine.pending.filter(|pending| pending.key_hash == key);
        let open = machine.recovery.is_some_and(|recovery| recovery.unconfirmed);
        let (Some(pending), true) = (same, open && machine.confirmed.key_hash == back.key) else {
            return Ok(None);
        };
        super::renew::may_act(machine.status)?;
        match self.book().issuance(pending.serial)? {
            Some(kept) => self.granted_before(&self.keys(), machine.id, &kept, registration),
            None => Ok(None),
        }
    }

    /// A machine's return was refused with `code`.
    pub async fn note_refused_return(&self, back: &Return, code: &'static str) {
        let Ok(machine) = self.returning(back) else { return };
        let event = countersign_store::Event::new("recovery.refused", self.now())
            .text("spiffe_id", &machine.spiffe_id)
            .text("machine", machine.id);
        self.note(event, &machine.id.to_string(), code, back.source).await;
    }
}

//! Recovery: a machine whose certificate has expired comes back by itself, once, within the time its profile allows.

use std::time::Duration;

use countersign_identity::{KeyHash, MachineId, Timestamp};
use countersign_issuance::{Intent, LedgerError, LedgerRefusal, Source};
use minicbor::{Decode, Encode};

use crate::events::{self, Event};
use crate::lineage::{refuse_inactive, refuse_used_key, standing_registration, told};
use crate::machines::{self, Machine, MachineStatus, Step};
use crate::records::plain;
use crate::renewal::give_up_pending;
use crate::transaction::Transaction;
use crate::{StoreError, issuances};

/// What became of a machine's right to come back by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Recovery {
    /// When it last came back.
    #[cbor(n(0), with = "plain", has_nil)]
    pub used: Option<Timestamp>,
    /// The certificate it was given then has not been presented: it may never have arrived.
    #[n(1)]
    pub unconfirmed: bool,
    /// It asked, and waits for an operator.
    #[n(2)]
    pub asked: bool,
    /// An operator has approved what it asked for.
    #[n(3)]
    pub approved: bool,
    /// A second holder was seen, or a certificate of the lineage was revoked: only an operator lets it come back.
    #[n(4)]
    pub barred: bool,
}

/// On what a machine founds its return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The key of the expired certificate it presented.
    pub presented: KeyHash,
    /// How long after its end that certificate speaks for the machine.
    pub allowance: Duration,
    /// Whether its profile wants an operator's approval.
    pub approval: bool,
    /// Where it comes from.
    pub source: Source,
}

impl Machine {
    /// Whether this claim lets the machine come back at `now`.
    ///
    /// # Errors
    /// The first rule that is against it.
    pub fn may_recover(&self, claim: &Claim, now: Timestamp) -> Result<(), LedgerRefusal> {
        let recovery = self.recovery.unwrap_or_default();
        refuse_inactive(self)?;
        if self.parent.is_some() {
            return Err(LedgerRefusal::IsWorkload);
        }
        let presented = self.step_with(&claim.presented).ok_or(LedgerRefusal::Superseded)?;
        if now <= presented.not_after {
            return Err(LedgerRefusal::NotExpired);
        }
        if presented.not_after + claim.allowance < now {
            return Err(LedgerRefusal::RecoveryOver);
        }
        if recovery.barred {
            return Err(LedgerRefusal::RecoveryBarred);
        }
        // What was given before and never arrived may be asked for again; presenting it shows that it did.
        let again = recovery.unconfirmed && self.confirmed.key_hash == claim.presented;
        if recovery.used.is_some() && !again {
            return Err(LedgerRefusal::RecoveryUsed);
        }
        Ok(())
    }

    fn step_with(&self, key: &KeyHash) -> Option<Step> {
        [Some(self.confirmed), self.pending].into_iter().flatten().find(|step| step.key_hash == *key)
    }
}

/// Gives a machine that comes back its next certificate.
pub(crate) fn recover(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    id: MachineId,
    claim: &Claim,
) -> Result<(), LedgerError> {
    let now = intent.time();
    let mut machine = machines::get(tx, id)?.ok_or(LedgerRefusal::MachineUnknown)?;
    machine.may_recover(claim, now)?;
    if claim.approval && !machine.recovery.is_some_and(|recovery| recovery.approved || recovery.unconfirmed) {
        return Err(LedgerRefusal::MachineHeld.into());
    }
    if machine.spiffe_id != *intent.spiffe_id() || machine.lineage != intent.lineage() {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    standing_registration(tx, intent)?;
    if machine.step_with(&intent.key_hash()).is_some_and(|step| step.not_after < now) {
        return Err(LedgerRefusal::KeyInUse.into());
    }
    let shown = machine.pending.filter(|pending| pending.key_hash == claim.presented);
    if let Some(pending) = shown {
        machine.confirm(pending, now);
    }
    let abandoned = give_up_pending(tx, &mut machine, intent)?;
    if abandoned.is_none() {
        refuse_used_key(tx, intent)?;
    }
    machine.is_given(intent, abandoned.is_some(), claim.source);
    machine.recovery = Some(Recovery { used: Some(now), unconfirmed: true, ..Recovery::default() });
    machines::put(tx, &machine)?;
    issuances::create(tx, intent, Some(id))?;
    let event = Event::new("machine.recovered", now).machine(id, &machine.spiffe_id);
    Ok(events::append(tx, told(event.text("presented_key", claim.presented), intent, claim.source))?)
}

/// A profile wants an operator's word before a machine comes back: it is held until that is given.
pub(crate) fn ask(
    tx: &mut Transaction<'_>,
    id: MachineId,
    claim: &Claim,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let mut machine = machines::get(tx, id)?.ok_or(LedgerRefusal::MachineUnknown)?;
    machine.may_recover(claim, now)?;
    machine.recovery = Some(Recovery { asked: true, ..machine.recovery.unwrap_or_default() });
    machine.last_source = claim.source.addr.or(machine.last_source);
    machines::set_status(tx, &mut machine, MachineStatus::Held)?;
    let event = Event::new("machine.recovery_asked", now).machine(id, &machine.spiffe_id);
    Ok(events::append(tx, event.text("presented_key", claim.presented).source(claim.source))?)
}

/// An operator's approval answers what the machine asked for.
pub(crate) fn approve(machine: &mut Machine) {
    if let Some(recovery) = machine.recovery.as_mut().filter(|recovery| recovery.asked) {
        (recovery.asked, recovery.approved) = (false, true);
    }
}

/// The machine does not come back by itself any more.
pub(crate) fn bar(tx: &mut Transaction<'_>, machine: &mut Machine) -> Result<(), StoreError> {
    machine.recovery = Some(Recovery { barred: true, ..machine.recovery.unwrap_or_default() });
    machines::put(tx, machine)
}

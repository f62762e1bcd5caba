//! Enrollment: a key redeems an invitation and becomes a machine.

use countersign_identity::MachineId;
use countersign_issuance::{Intent, LedgerError, LedgerRefusal, Machines, Source};

use crate::events::{self, Event};
use crate::invitations::{self, Invitation, Redemption};
use crate::lineage::{refuse_inactive, refuse_used_key, standing_registration, step_of, told};
use crate::machines::{self, Machine, MachineStatus};
use crate::revocation::{self, Cause};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{StoreError, issuances, keys, trust};

/// Redeems the invitation with this hash.
pub(crate) fn enroll(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    hash: &[u8; 32],
    id: MachineId,
    source: Source,
) -> Result<(), LedgerError> {
    let now = intent.time();
    let mut invitation = invitations::get(tx, hash)?.ok_or(LedgerRefusal::InvitationUnknown)?;
    if invitation.spiffe_id != *intent.spiffe_id() {
        return Err(LedgerRefusal::InvitationUnknown.into());
    }
    let registration = standing_registration(tx, intent)?;
    if registration.parent.is_some() {
        return Err(LedgerRefusal::IsWorkload.into());
    }
    let earlier = invitations::redemption(tx, hash, &intent.key_hash())?;
    if let Some(earlier) = earlier.filter(|earlier| now <= earlier.not_after) {
        return repeat(tx, intent, hash, &mut invitation, earlier, id, source);
    }
    if invitation.used >= invitation.uses {
        return Err(LedgerRefusal::InvitationUsed.into());
    }
    if invitation.expires < now {
        return Err(LedgerRefusal::InvitationExpired.into());
    }
    refuse_used_key(tx, intent)?;
    if machines::get(tx, id)?.is_some() || tx.row(&keys::lineage(intent.lineage()))?.is_some() {
        // An id drawn twice: the caller draws again.
        return Err(LedgerRefusal::SerialTaken.into());
    }
    if registration.machines == Machines::One {
        replace_others(tx, intent, id)?;
    }
    let machine = enrolled(intent, id, source);
    machines::create(tx, &machine)?;
    invitation.used += 1;
    finish_enrollment(tx, intent, hash, &mut invitation, &machine)?;
    let event = Event::new("machine.enrolled", now).machine(id, &machine.spiffe_id);
    Ok(events::append(tx, told(event, intent, source))?)
}

pub(crate) fn enrolled(intent: &Intent, id: MachineId, source: Source) -> Machine {
    Machine {
        id,
        spiffe_id: intent.spiffe_id().clone(),
        lineage: intent.lineage(),
        status: MachineStatus::Active,
        enrolled: intent.time(),
        confirmed: step_of(intent),
        pending: None,
        superseded: 0,
        last_seen: intent.time(),
        profile: intent.profile().to_owned(),
        last_source: source.addr,
        not_after: intent.validity().not_after(),
        abandoned: false,
        recovery: None,
        parent: None,
        deployed: None,
        hurry: None,
    }
}

/// The same key repeats its enrollment because the certificate never reached it: a new serial takes the place of the
/// first, which stays live and revocable until it ends.
fn repeat(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    hash: &[u8; 32],
    invitation: &mut Invitation,
    earlier: Redemption,
    id: MachineId,
    source: Source,
) -> Result<(), LedgerError> {
    let mut machine = machines::get(tx, earlier.machine)?.ok_or(LedgerRefusal::MachineUnknown)?;
    refuse_inactive(&machine)?;
    let moved_on = machine.confirmed.serial != earlier.serial || machine.pending.is_some();
    if machine.id != id || machine.lineage != intent.lineage() || moved_on {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    let first = issuances::get(tx, earlier.serial)?;
    if first.as_ref().is_some_and(|first| first.revoked.is_some()) {
        return Err(LedgerRefusal::CertificateRevoked.into());
    }
    if first.is_some_and(|first| first.signed) {
        // It can be had from the book.
        return Err(LedgerRefusal::KeyInUse.into());
    }
    machine.confirmed = step_of(intent);
    machine.not_after = machine.not_after.max(machine.confirmed.not_after);
    machine.last_seen = intent.time();
    machine.last_source = source.addr.or(machine.last_source);
    machines::put(tx, &machine)?;
    finish_enrollment(tx, intent, hash, invitation, &machine)?;
    let event = Event::new("machine.enrolled", intent.time()).machine(id, &machine.spiffe_id);
    let event = event.text("abandoned", earlier.serial);
    Ok(events::append(tx, told(event, intent, source))?)
}

fn finish_enrollment(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    hash: &[u8; 32],
    invitation: &mut Invitation,
    machine: &Machine,
) -> Result<(), StoreError> {
    let redemption = Redemption {
        key_hash: intent.key_hash(),
        machine: machine.id,
        lineage: machine.lineage,
        serial: intent.serial(),
        not_after: intent.validity().not_after(),
    };
    invitations::bind(tx, hash, invitation, &redemption)?;
    issuances::create(tx, intent, Some(machine.id))
}

/// With `machines = one` an enrollment ends the machine before it.
pub(crate) fn replace_others(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    by: MachineId,
) -> Result<(), StoreError> {
    let now = intent.time();
    let mut replaced = false;
    for mut machine in machines::of_identity(tx, intent.spiffe_id())? {
        if machine.status.has_ended() {
            continue;
        }
        let reason = format!("replaced by {by}");
        revocation::end(tx, &mut machine, MachineStatus::Replaced, Cause::Replaced, &reason, now)?;
        let event = Event::new("machine.replaced", now).machine(machine.id, &machine.spiffe_id);
        events::append(tx, event.text("by", by))?;
        replaced = true;
    }
    if replaced { trust::advance(tx) } else { Ok(()) }
}

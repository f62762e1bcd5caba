//! Renewal: a machine takes the next step of its lineage.

use countersign_identity::{MachineId, Serial, Timestamp};
use countersign_issuance::{Intent, LedgerError, LedgerRefusal, Source};

use crate::events::{self, Event};
use crate::lineage::{LineageState, refuse_inactive, refuse_used_key, standing_registration, told};
use crate::machines::{self, Machine, Step};
use crate::revocation::{self, Cause};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{issuances, trust};

/// Pending certificates that may be superseded between two confirmations: enough for an agent that loses its disk
/// between two tries, too few to fill the list of revoked serials.
const MOST_SUPERSEDED: u8 = 3;

/// Gives the machine a new pending certificate.
pub(crate) fn renew(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    id: MachineId,
    presented: Serial,
    source: Source,
) -> Result<(), LedgerError> {
    let now = intent.time();
    let mut machine = machines::get(tx, id)?.ok_or(LedgerRefusal::MachineUnknown)?;
    refuse_inactive(&machine)?;
    if machine.parent.is_some() {
        return Err(LedgerRefusal::IsWorkload.into());
    }
    if machine.spiffe_id != *intent.spiffe_id() || machine.lineage != intent.lineage() {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    standing_registration(tx, intent)?;
    confirm_presented(tx, &mut machine, presented, now)?;
    let abandoned = give_up_pending(tx, &mut machine, intent)?;
    if abandoned.is_none() {
        refuse_used_key(tx, intent)?;
    }
    machine.is_given(intent, abandoned.is_some(), source);
    machines::put(tx, &machine)?;
    issuances::create(tx, intent, Some(id))?;
    let event = Event::new("machine.renewed", now).machine(id, &machine.spiffe_id);
    let event = match abandoned {
        Some(serial) => event.text("abandoned", serial),
        None => event,
    };
    Ok(events::append(tx, told(event.text("presented", presented), intent, source))?)
}

/// The presented certificate must have the confirmed key, or the pending one, which that confirms.
fn confirm_presented(
    rows: &impl Rows,
    machine: &mut Machine,
    presented: Serial,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let issuance = issuances::get(rows, presented)?.ok_or(LedgerRefusal::LineageMoved)?;
    let not_after = issuance.validity.not_after();
    if issuance.machine != Some(machine.id) || not_after < now {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    if issuance.revoked.is_some() {
        return Err(LedgerRefusal::CertificateRevoked.into());
    }
    match machine.state_of(&issuance) {
        LineageState::Confirmed => Ok(()),
        LineageState::Pending => {
            machine.confirm(Step { serial: presented, key_hash: issuance.key_hash, not_after }, now);
            Ok(())
        }
        LineageState::Superseded | LineageState::Older => Err(LedgerRefusal::LineageMoved.into()),
    }
}

/// Makes way for a new pending certificate. The serial returned is that of a pending one with the same key that was
/// never signed as far as the book knows: it is abandoned, not revoked.
pub(crate) fn give_up_pending(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    intent: &Intent,
) -> Result<Option<Serial>, LedgerError> {
    let now = intent.time();
    let Some(pending) = machine.pending.filter(|pending| now <= pending.not_after) else { return Ok(None) };
    let Some(issuance) = issuances::get(tx, pending.serial)? else { return Ok(None) };
    if issuance.revoked.is_some() {
        return Ok(None);
    }
    if pending.key_hash == intent.key_hash() {
        // A signed one can be had from the book.
        return if issuance.signed { Err(LedgerRefusal::KeyInUse.into()) } else { Ok(Some(pending.serial)) };
    }
    if machine.superseded >= MOST_SUPERSEDED {
        return Err(LedgerRefusal::TooManyPending.into());
    }
    machine.superseded += 1;
    // A retry may have left several serials with that key.
    let given_up = match machine.abandoned {
        true => issuances::of_lineage(tx, machine.lineage, now)?,
        false => vec![issuance],
    };
    for same in given_up {
        if same.key_hash == pending.key_hash && same.is_live(now) {
            let event = Event::new("lineage.superseded", now).machine(machine.id, &machine.spiffe_id);
            events::append(tx, event.serial(same.serial).text("by", intent.serial()))?;
            revocation::strike(tx, same, Cause::Superseded, "superseded", now)?;
        }
    }
    trust::advance(tx)?;
    Ok(None)
}

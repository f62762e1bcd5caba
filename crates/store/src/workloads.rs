//! Workloads: the identities that a machine fetches for its processes. Each has a lineage of its own and falls with the
//! machine.

use std::ops::ControlFlow;

use countersign_identity::{MachineId, Serial, SpiffeId};
use countersign_issuance::{Intent, LedgerError, LedgerRefusal, Machines, Registration, Source};

use crate::engine::{Change, Engine};
use crate::enrollment::{enrolled, replace_others};
use crate::events::{self, Event};
use crate::lineage::{refuse_inactive, refuse_used_key, standing_registration, step_of, told};
use crate::machines::{self, Machine};
use crate::records::{Record, corrupt};
use crate::rows::{Rows, successor};
use crate::transaction::Transaction;
use crate::{StoreError, issuances, keys, registrations};

/// Registrations read at a time when the index is made.
const PAGE: usize = 1024;

/// Gives a machine a certificate for one of its workloads.
pub(crate) fn issue(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    parent: MachineId,
    id: MachineId,
    source: Source,
) -> Result<(), LedgerError> {
    let parent = machines::get(tx, parent)?.ok_or(LedgerRefusal::MachineUnknown)?;
    refuse_inactive(&parent)?;
    if parent.parent.is_some() {
        return Err(LedgerRefusal::IsWorkload.into());
    }
    let registration = standing_registration(tx, intent)?;
    if registration.parent.as_ref() != Some(&parent.spiffe_id) {
        return Err(LedgerRefusal::NotItsWorkload.into());
    }
    let known = of(tx, parent.id, intent.spiffe_id())?.filter(|known| !known.status.has_ended());
    let lost = match &known {
        Some(known) => lost(tx, intent, known)?,
        None => None,
    };
    if lost.is_none() {
        refuse_used_key(tx, intent)?;
    }
    let workload = match known {
        Some(known) => next(tx, intent, known, id, source)?,
        None => first(tx, intent, &registration, &parent, id, source)?,
    };
    issuances::create(tx, intent, Some(workload.id))?;
    let event = Event::new("workload.issued", intent.time()).machine(workload.id, &workload.spiffe_id);
    let event = match lost {
        Some(serial) => event.text("abandoned", serial),
        None => event,
    };
    Ok(events::append(tx, told(event.text("parent", parent.id), intent, source))?)
}

/// The serial that an earlier request with the same key recorded and, as far as the book knows, nobody signed.
fn lost(rows: &impl Rows, intent: &Intent, known: &Machine) -> Result<Option<Serial>, StoreError> {
    if known.confirmed.key_hash != intent.key_hash() {
        return Ok(None);
    }
    let issuance = issuances::get(rows, known.confirmed.serial)?;
    Ok(issuance.filter(|one| !one.signed && one.revoked.is_none()).map(|one| one.serial))
}

fn next(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    mut known: Machine,
    id: MachineId,
    source: Source,
) -> Result<Machine, LedgerError> {
    refuse_inactive(&known)?;
    if known.id != id || known.lineage != intent.lineage() {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    known.confirmed = step_of(intent);
    known.not_after = known.not_after.max(known.confirmed.not_after);
    known.last_seen = intent.time();
    known.last_source = source.addr.or(known.last_source);
    intent.profile().clone_into(&mut known.profile);
    machines::put(tx, &known)?;
    Ok(known)
}

fn first(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    registration: &Registration,
    parent: &Machine,
    id: MachineId,
    source: Source,
) -> Result<Machine, LedgerError> {
    if machines::get(tx, id)?.is_some() || tx.row(&keys::lineage(intent.lineage()))?.is_some() {
        // An id drawn twice: the caller draws again.
        return Err(LedgerRefusal::SerialTaken.into());
    }
    if registration.machines == Machines::One {
        replace_others(tx, intent, id)?;
    }
    let workload = Machine { parent: Some(parent.id), ..enrolled(intent, id, source) };
    machines::create(tx, &workload)?;
    tx.put_octets(keys::workload(parent.id, &workload.spiffe_id), id.as_bytes().to_vec())?;
    Ok(workload)
}

/// The workload of this identity at a machine.
pub(crate) fn of(rows: &impl Rows, parent: MachineId, id: &SpiffeId) -> Result<Option<Machine>, StoreError> {
    let key = keys::workload(parent, id);
    match rows.row(&key)? {
        Some(octets) => machines::get(rows, machines::id_in(&octets)?),
        None => Ok(None),
    }
}

/// All workloads of a machine that have not ended.
pub(crate) fn all_of(rows: &impl Rows, parent: MachineId) -> Result<Vec<Machine>, StoreError> {
    let mut found = Vec::new();
    rows.walk_prefix(&keys::workloads(parent), |_, octets| {
        found.extend(machines::get(rows, machines::id_in(octets)?)?.filter(|one| !one.status.has_ended()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The registrations under a parent, with the number of their last change.
pub(crate) fn registered(
    rows: &impl Rows,
    parent: &SpiffeId,
) -> Result<(u64, Vec<Registration>), StoreError> {
    let prefix = keys::children(parent);
    let mut found = Vec::new();
    rows.walk_prefix(&prefix, |key, _| {
        let text = key.get(prefix.len()..).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default();
        let id = text.parse().map_err(|_| corrupt(key, "ends in no SPIFFE ID"))?;
        found.extend(registrations::get(rows, &id)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((changed(rows, parent)?, found))
}

/// The number of the last change of the registrations under a parent.
pub(crate) fn changed(rows: &impl Rows, parent: &SpiffeId) -> Result<u64, StoreError> {
    Ok(rows.record(&keys::children_changed(parent))?.unwrap_or_default())
}

/// How often registrations under any parent have changed.
pub(crate) fn sequence(rows: &impl Rows) -> Result<u64, StoreError> {
    Ok(rows.record(keys::CHILDREN)?.unwrap_or_default())
}

/// The sequence these changes leave, if they touch it.
pub(crate) fn changed_sequence(changes: &[Change]) -> Result<Option<u64>, StoreError> {
    let change = changes.iter().find(|change| change.key == keys::CHILDREN);
    change.and_then(|change| change.new.as_ref()).map(|octets| u64::read(keys::CHILDREN, octets)).transpose()
}

/// A registration was written in the place of another, or removed: its parents' lists change.
pub(crate) fn relist(
    tx: &mut Transaction<'_>,
    before: Option<&Registration>,
    after: Option<&Registration>,
) -> Result<(), StoreError> {
    for (one, is_new) in [(before, false), (after, true)] {
        let Some((id, parent)) = one.and_then(|one| Some((&one.id, one.parent.as_ref()?))) else { continue };
        let sequence = sequence(tx)? + 1;
        tx.put(keys::CHILDREN.to_vec(), &sequence)?;
        tx.put(keys::children_changed(parent), &sequence)?;
        match is_new {
            true => tx.put_octets(keys::child(parent, id), Vec::new())?,
            false => tx.remove(keys::child(parent, id))?,
        }
    }
    Ok(())
}

/// Makes the index of a book that was written before there was one.
pub(crate) fn index(engine: &dyn Engine) -> Result<(), StoreError> {
    if engine.get(keys::CHILDREN)?.is_some() {
        return Ok(());
    }
    let mut from = vec![keys::REGISTRATION];
    loop {
        let rows = engine.scan(&from, &[keys::REGISTRATION + 1], PAGE)?;
        let mut changes = Vec::new();
        for (key, octets) in &rows {
            let one = registrations::read(key, octets)?;
            if let Some(parent) = &one.parent {
                changes.push(Change { key: keys::child(parent, &one.id), old: None, new: Some([].into()) });
            }
        }
        if !changes.is_empty() {
            engine.apply(&changes)?;
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PAGE => from = successor(last),
            _ => break,
        }
    }
    let new = Some(0_u64.write(keys::CHILDREN)?.into());
    engine.apply(&[Change { key: keys::CHILDREN.to_vec(), old: None, new }])?;
    engine.sync()
}

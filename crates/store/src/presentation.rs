//! Presentation: what a certificate shown at a door says about its machine, and what gives two holders away.

use countersign_identity::{MachineId, Serial, Timestamp};
use countersign_issuance::{OnClone, Source};

use crate::events::{self, Event};
use crate::issuances::{self, Issuance};
use crate::lineage::LineageState;
use crate::machines::{self, Machine, MachineStatus, Step};
use crate::revocation::{self, Cause};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{StoreError, recovery, trust};

/// Through which door a certificate is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Renewal, the one place that judges the lineage (DESIGN §3).
    Renewal {
        /// What the profile says about two holders.
        on_clone: OnClone,
        /// Where the certificate is presented from.
        source: Source,
    },
    /// Any other: an unexpired, unrevoked certificate is accepted and never accuses.
    Other,
}

/// What presenting a certificate showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presentation {
    /// No machine's certificate has this serial (any more).
    Unknown,
    /// It has expired. At the renewal door an event tells of it; it never suspends.
    Expired {
        /// Its last second.
        not_after: Timestamp,
    },
    /// It is revoked.
    Revoked {
        /// What led to it.
        cause: Cause,
    },
    /// Its machine is held (renewal only), suspended or has ended.
    NotActive {
        /// The machine.
        machine: MachineId,
        /// Its status.
        status: MachineStatus,
    },
    /// The lineage's confirmed certificate.
    Current {
        /// The machine.
        machine: MachineId,
    },
    /// The pending certificate, confirmed by this.
    Confirmed {
        /// The machine.
        machine: MachineId,
    },
    /// An older one, accepted at this door.
    Older {
        /// The machine.
        machine: MachineId,
    },
    /// A second holder. The renewal is refused; what the profile says has been done.
    Clone {
        /// The machine.
        machine: MachineId,
        /// What was done.
        action: OnClone,
    },
}

/// What presenting a certificate asks the book to do.
enum Effect {
    Nothing,
    Confirm(Box<Machine>, Step),
    TellExpired(Issuance),
    Accuse(Box<Machine>),
}

/// Judges a presented certificate without changing anything; `None` if judging it changes the book.
pub(crate) fn glance(
    rows: &impl Rows,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<Option<Presentation>, StoreError> {
    let (presentation, effect) = judge(rows, serial, door, now)?;
    Ok(matches!(effect, Effect::Nothing).then_some(presentation))
}

/// Judges a presented certificate and does what follows from it.
pub(crate) fn present(
    tx: &mut Transaction<'_>,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<Presentation, StoreError> {
    let (presentation, effect) = judge(tx, serial, door, now)?;
    let source = match door {
        Door::Renewal { source, .. } => source,
        Door::Other => Source::default(),
    };
    match effect {
        Effect::Nothing => {}
        Effect::Confirm(mut machine, step) => {
            machine.confirm(step, now);
            machine.last_source = source.addr.or(machine.last_source);
            machines::put(tx, &machine)?;
            let event = Event::new("machine.confirmed", now).machine(machine.id, &machine.spiffe_id);
            events::append(tx, event.serial(serial).source(source))?;
        }
        Effect::TellExpired(issuance) => {
            let event = Event::new("lineage.expired_presented", now).serial(serial).source(source);
            let event = event.text("spiffe_id", &issuance.spiffe_id).text("lineage", issuance.lineage);
            events::append(tx, event)?;
        }
        Effect::Accuse(mut machine) => accuse(tx, &mut machine, serial, door, now)?,
    }
    Ok(presentation)
}

fn judge(
    rows: &impl Rows,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<(Presentation, Effect), StoreError> {
    let at_renewal = matches!(door, Door::Renewal { .. });
    let Some(issuance) = issuances::get(rows, serial)? else {
        return Ok((Presentation::Unknown, Effect::Nothing));
    };
    let machine = issuance.machine.map(|id| machines::get(rows, id)).transpose()?.flatten();
    let Some(machine) = machine else {
        return Ok((Presentation::Unknown, Effect::Nothing));
    };
    let not_after = issuance.validity.not_after();
    if not_after < now {
        let effect = if at_renewal { Effect::TellExpired(issuance) } else { Effect::Nothing };
        return Ok((Presentation::Expired { not_after }, effect));
    }
    let id = machine.id;
    // A workload stands no better than its machine.
    let parent = machine.parent.map(|parent| machines::get(rows, parent)).transpose()?;
    let status = match parent {
        Some(parent) => parent.map_or(MachineStatus::Removed, |parent| parent.status.worse(machine.status)),
        None => machine.status,
    };
    if status != MachineStatus::Active && (at_renewal || status != MachineStatus::Held) {
        return Ok((Presentation::NotActive { machine: id, status }, Effect::Nothing));
    }
    let state = machine.state_of(&issuance);
    match (door, state, &issuance.revoked) {
        (Door::Renewal { on_clone, .. }, LineageState::Superseded | LineageState::Older, revoked)
            if state == LineageState::Superseded || revoked.is_none() =>
        {
            Ok((Presentation::Clone { machine: id, action: on_clone }, Effect::Accuse(Box::new(machine))))
        }
        (_, _, Some(revocation)) => Ok((Presentation::Revoked { cause: revocation.cause }, Effect::Nothing)),
        (_, LineageState::Pending, None) => {
            let step = Step { serial, key_hash: issuance.key_hash, not_after };
            let effect = Effect::Confirm(Box::new(machine), step);
            Ok((Presentation::Confirmed { machine: id }, effect))
        }
        (_, LineageState::Confirmed, None) => Ok((Presentation::Current { machine: id }, Effect::Nothing)),
        (_, _, None) => Ok((Presentation::Older { machine: id }, Effect::Nothing)),
    }
}

/// Two holders: the event shows where both came from.
fn accuse(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Door::Renewal { on_clone, source } = door else { return Ok(()) };
    let event = Event::new("lineage.clone", now)
        .machine(machine.id, &machine.spiffe_id)
        .serial(serial)
        .text("newest", machine.newest().serial)
        .text("action", on_clone)
        .source(source)
        .address("last_source", machine.last_source);
    events::append(tx, event)?;
    recovery::bar(tx, machine)?;
    match on_clone {
        OnClone::Report => Ok(()),
        OnClone::Hold => machines::set_status(tx, machine, MachineStatus::Held),
        OnClone::Suspend => {
            revocation::suspend(tx, machine, now)?;
            trust::advance(tx)
        }
    }
}

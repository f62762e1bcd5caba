//! Orders: what operators do with machines.

use std::time::Duration;

use countersign_identity::{MachineId, Timestamp};
use minicbor::{Decode, Encode};

use crate::events::{self, Event};
use crate::machines::{self, Machine, MachineStatus, Whom};
use crate::records::plain;
use crate::revocation::{self, Cause};
use crate::transaction::Transaction;
use crate::{Actor, Refusal, StoreError, recovery, trust};

/// What an operator does with machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Held machines may renew again.
    Approve,
    /// No renewal, and their certificates are listed as revoked until they resume.
    Suspend,
    /// The end of a suspension.
    Resume,
    /// They are gone for good, and their certificates revoked.
    Remove,
    /// They may come back by themselves once more after their certificates have expired.
    ResetRecovery,
    /// They renew before their window, each at a moment of its own.
    Renew {
        /// How long all of them have.
        within: Duration,
    },
}

/// By then every certificate has been renewed anyhow.
const LONGEST_HURRY: Duration = Duration::from_hours(7 * 24);

impl Order {
    /// Whether a machine of this status can be given it.
    #[must_use]
    pub const fn applies_to(self, status: MachineStatus) -> bool {
        match self {
            Self::Approve => matches!(status, MachineStatus::Held),
            Self::Suspend => matches!(status, MachineStatus::Active | MachineStatus::Held),
            Self::Resume => matches!(status, MachineStatus::Suspended),
            Self::Renew { .. } => matches!(status, MachineStatus::Active),
            Self::Remove | Self::ResetRecovery => !status.has_ended(),
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Approve => "held",
            Self::Suspend => "active or held",
            Self::Resume => "suspended",
            Self::Renew { .. } => "active",
            Self::Remove | Self::ResetRecovery => "active, held or suspended",
        }
    }

    /// The kind of the event that tells of it.
    const fn kind(self) -> &'static str {
        match self {
            Self::Approve => "machine.approved",
            Self::Suspend => "machine.suspended",
            Self::Resume => "machine.resumed",
            Self::Remove => "machine.removed",
            Self::ResetRecovery => "machine.recovery_reset",
            Self::Renew { .. } => "machine.hurried",
        }
    }

    /// Whether verifiers must learn of it.
    const fn changes_trust(self) -> bool {
        matches!(self, Self::Suspend | Self::Resume | Self::Remove)
    }
}

/// An operator's order to renew what was recorded before a moment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hurry {
    /// When it was given; certificates recorded since are not meant.
    #[cbor(n(0), with = "plain")]
    pub since: Timestamp,
    /// Until when all machines meant should have renewed; each has its own moment before.
    #[cbor(n(1), with = "plain")]
    pub until: Timestamp,
    /// Why, in words.
    #[n(2)]
    pub reason: String,
}

/// Carries out an order on every machine meant that it applies to; there must be one.
pub(crate) fn order(
    tx: &mut Transaction<'_>,
    order: Order,
    whom: &Whom,
    reason: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<Vec<MachineId>, StoreError> {
    let mut done = Vec::new();
    let machines = machines::meant(tx, whom)?;
    let unfit = machines.first().map(|machine| (machine.id, machine.status));
    for mut machine in machines {
        if order.applies_to(machine.status) {
            obey(tx, order, &mut machine, reason, now)?;
            let event = Event::new(order.kind(), now).actor(actor).machine(machine.id, &machine.spiffe_id);
            events::append(tx, event.reason(reason))?;
            done.push(machine.id);
        }
    }
    match unfit {
        Some((id, found)) if done.is_empty() => {
            Err(Refusal::WrongStatus { id, found, expected: order.expected() }.into())
        }
        _ => {
            if order.changes_trust() {
                trust::advance(tx)?;
            }
            Ok(done)
        }
    }
}

fn obey(
    tx: &mut Transaction<'_>,
    order: Order,
    machine: &mut Machine,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    match order {
        Order::Approve => {
            recovery::approve(machine);
            machines::set_status(tx, machine, MachineStatus::Active)
        }
        Order::ResetRecovery => {
            machine.recovery = None;
            machines::put(tx, machine)
        }
        Order::Renew { within } => {
            let until = now + within.min(LONGEST_HURRY);
            machine.hurry = Some(Hurry { since: now, until, reason: reason.to_owned() });
            machines::put(tx, machine)
        }
        Order::Suspend => revocation::suspend(tx, machine, now),
        Order::Resume => revocation::resume(tx, machine, now),
        Order::Remove => {
            revocation::end(tx, machine, MachineStatus::Removed, Cause::Removed, reason, now)?;
            Ok(())
        }
    }
}

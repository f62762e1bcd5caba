//! Expiry: what nobody needs any more leaves, so that the book is bounded by what lives.

use std::ops::ControlFlow;
use std::time::Duration;

use countersign_identity::Timestamp;

use crate::events::{self, Event};
use crate::issuances;
use crate::machines::{self, Machine};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{StoreError, api_keys, invitations, keys, revoked_list, uses, withdrawn};

/// Rows that leave in one command at most, so that it does not hold up the others.
const SHARE: usize = 1024;

/// The longest time after which a profile lets a machine recover (`recovery` ≤ 30 d): a machine whose last certificate
/// ended before that can only enroll again.
const LAPSE: Duration = Duration::from_hours(30 * 24);

/// What left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Issuances of partitions (hours of `notAfter`) that are over as a whole.
    pub issuances: usize,
    /// Invitations that can neither be redeemed nor repeated.
    pub invitations: usize,
    /// Machines that have ended, or were not seen for longer than any profile lets them recover.
    pub machines: usize,
}

impl Expired {
    pub(crate) fn add(&mut self, more: Self) {
        self.issuances += more.issuances;
        self.invitations += more.invitations;
        self.machines += more.machines;
    }
}

/// One share of everything that is over; true if there is more.
pub(crate) fn share(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(Expired, bool), StoreError> {
    let issuances = partitions(tx, now)?;
    let invitations = invitations::hashes(tx, SHARE, |invitation| invitation.is_over(now))?;
    for hash in &invitations {
        invitations::remove(tx, hash)?;
    }
    let (machines, swept) = sweep(tx, now)?;
    let uses_swept = uses::sweep(tx, now, SHARE)?;
    let lines = revoked_list::forget_ended(tx, now, SHARE)?.max(revoked_list::forget_changes(tx, SHARE)?);
    let tokens = withdrawn::forget(tx, now, SHARE)?;
    let ended = api_keys::forget(tx, now, SHARE)?;
    let warned = api_keys::warn(tx, now, SHARE)?;
    let more = [tokens, ended, warned].contains(&SHARE);
    let more =
        more || lines == SHARE || issuances == SHARE || invitations.len() == SHARE || !swept || !uses_swept;
    Ok((Expired { issuances, invitations: invitations.len(), machines }, more))
}

/// Issuances of the oldest partitions, as far as every certificate in them has ended.
fn partitions(tx: &mut Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let mut over = Vec::new();
    tx.walk(&[keys::ENDING], &keys::partition(keys::ENDING, now), |key, _| {
        over.extend(issuances::get(tx, issuances::serial_in(key)?)?);
        Ok(if over.len() < SHARE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for issuance in &over {
        issuances::forget(tx, issuance)?;
    }
    Ok(over.len())
}

/// Looks at the next machines after those looked at last; true when it has come round.
fn sweep(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(usize, bool), StoreError> {
    let from = tx.row(keys::SWEEP)?.map_or_else(|| vec![keys::MACHINE], |key| key.to_vec());
    let (over, next) = machines::some_from(tx, &from, SHARE, |machine| {
        let ended = machine.status.has_ended() && machine.not_after < now;
        ended || machine.not_after + LAPSE < now
    })?;
    for machine in &over {
        forget(tx, machine, now)?;
    }
    let round = next.is_none();
    match next {
        Some(next) => tx.put_octets(keys::SWEEP.to_vec(), next)?,
        None => tx.remove(keys::SWEEP.to_vec())?,
    }
    Ok((over.len(), round))
}

fn forget(tx: &mut Transaction<'_>, machine: &Machine, now: Timestamp) -> Result<(), StoreError> {
    if !machine.status.has_ended() {
        let event = Event::new("machine.lapsed", now).machine(machine.id, &machine.spiffe_id);
        events::append(tx, event.text("not_after", machine.not_after))?;
    }
    machines::forget(tx, machine)
}

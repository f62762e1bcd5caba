//! Expiry: what nobody needs any more leaves, so that the book is bounded by what lives.

use std::ops::ControlFlow;
use std::time::Duration;

use countersign_identity::Timestamp;

use crate::engine::Key;
use crate::events::{self, Event};
use crate::invitations::{self, Invitation};
use crate::machines::{self, Machine};
use crate::records::{Record, corrupt};
use crate::rows::{Rows, after_prefix, successor};
use crate::transaction::Transaction;
use crate::{StoreError, api_keys, issuances, keys, revoked_list, uses, withdrawn};

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

/// A share of one kind of work, and whether there is more of it.
pub(crate) type Step = fn(&mut Transaction<'_>, Timestamp) -> Result<(Expired, bool), StoreError>;

/// All there is to do, kind by kind. Each command looks at so many rows at most, however many there are: a book of a million
/// machines must not hold up their renewals.
pub(crate) const STEPS: [Step; 4] = [partitions, sweep, lists, warnings];

/// Issuances of the oldest partitions, as far as every certificate in them has ended.
fn partitions(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(Expired, bool), StoreError> {
    let mut over = Vec::new();
    tx.walk(&[keys::ENDING], &keys::partition(keys::ENDING, now), |key, _| {
        over.extend(issuances::get(tx, issuances::serial_in(key)?)?);
        Ok(if over.len() < SHARE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for issuance in &over {
        issuances::forget(tx, issuance)?;
    }
    let expired = Expired { issuances: over.len(), ..Expired::default() };
    Ok((expired, over.len() == SHARE))
}

/// The kinds of rows that have no index by their end, in the order in which they are looked through.
const SWEPT: [u8; 3] = [keys::MACHINE, keys::INVITATION, keys::USE];

/// Looks at the next rows after those looked at last, until it has come round all of them.
fn sweep(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(Expired, bool), StoreError> {
    let [first, ..] = SWEPT;
    let from = tx.row(keys::SWEEP)?.map_or_else(|| vec![first], |key| key.to_vec());
    let kind = from.first().copied().unwrap_or(first);
    let (mut over, mut looks, mut next) = (Vec::new(), 0, None);
    tx.walk(&from, &after_prefix(&[kind]), |key, octets| {
        if is_over(kind, key, octets, now)? {
            over.push(key.to_vec());
        }
        looks += 1;
        if looks < SHARE {
            return Ok(ControlFlow::Continue(()));
        }
        next = Some(successor(key));
        Ok(ControlFlow::Break(()))
    })?;
    let mut expired = Expired::default();
    for key in over {
        leave(tx, kind, key, now, &mut expired)?;
    }
    let next_kind = || SWEPT.iter().skip_while(|one| **one != kind).nth(1).map(|one| vec![*one]);
    let next = next.or_else(next_kind);
    let more = next.is_some();
    match next {
        Some(next) => tx.put_octets(keys::SWEEP.to_vec(), next)?,
        None => tx.remove(keys::SWEEP.to_vec())?,
    }
    Ok((expired, more))
}

fn is_over(kind: u8, key: &[u8], octets: &[u8], now: Timestamp) -> Result<bool, StoreError> {
    Ok(match kind {
        keys::INVITATION => Invitation::read(key, octets)?.is_over(now),
        keys::USE => uses::is_old(key, octets, now)?,
        _ => {
            let machine = Machine::read(key, octets)?;
            let ended = machine.status.has_ended() && machine.not_after < now;
            ended || machine.not_after + LAPSE < now
        }
    })
}

fn leave(
    tx: &mut Transaction<'_>,
    kind: u8,
    key: Key,
    now: Timestamp,
    expired: &mut Expired,
) -> Result<(), StoreError> {
    match kind {
        keys::INVITATION => {
            let hash = keys::tail::<32>(&key).ok_or_else(|| corrupt(&key, "ends in no hash"))?;
            expired.invitations += 1;
            invitations::remove(tx, &hash)
        }
        keys::USE => tx.remove(key),
        _ => {
            let Some(machine) = tx.record::<Machine>(&key)? else { return Ok(()) };
            expired.machines += 1;
            forget(tx, &machine, now)
        }
    }
}

/// What stands in lists by its end.
fn lists(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(Expired, bool), StoreError> {
    let left = [
        revoked_list::forget_ended(tx, now, SHARE)?,
        revoked_list::forget_changes(tx, SHARE)?,
        withdrawn::forget(tx, now, SHARE)?,
        api_keys::forget(tx, now, SHARE)?,
    ];
    Ok((Expired::default(), left.contains(&SHARE)))
}

/// What is said before the end.
fn warnings(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(Expired, bool), StoreError> {
    Ok((Expired::default(), api_keys::warn(tx, now, SHARE)? == SHARE))
}

fn forget(tx: &mut Transaction<'_>, machine: &Machine, now: Timestamp) -> Result<(), StoreError> {
    if !machine.status.has_ended() {
        let event = Event::new("machine.lapsed", now).machine(machine.id, &machine.spiffe_id);
        events::append(tx, event.text("not_after", machine.not_after))?;
    }
    machines::forget(tx, machine)
}

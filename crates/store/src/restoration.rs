//! Restoration: what a book that came back from a backup is told of the time between, and how it meets certificates that
//! it gave in that time and does not remember. A restored book never un-revokes.

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp, Validity};
use countersign_issuance::Source;
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use crate::committer::Committer;
use crate::events::{self, Event};
use crate::issuances::{self, Issuance};
use crate::machines::{self, Machine, MachineStatus, Step};
use crate::records::plain;
use crate::revocation::{self, Cause};
use crate::revoked_list::{self, RevokedSerial};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, StoreError, engine::Key, invitations, keys, registrations, trust};

/// Rows looked at in one command.
const SHARE: usize = 1024;

/// The profile of a machine whose identity is not registered; what it is given goes by its registration anyway.
const NO_PROFILE: &str = "workload";

/// What is known of the time between the backup and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// The trust epoch that begins.
    pub epoch: u64,
    /// Every serial that was to be refused by then; `None` if nobody knows, so that every machine is held.
    pub revoked: Option<Vec<RevokedSerial>>,
}

/// What telling the book has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Serials that the backup did not know to be revoked.
    pub revoked: usize,
    /// Machines that wait for an operator.
    pub held: usize,
    /// Invitations that are void: whether they were redeemed since, nobody knows.
    pub invitations: usize,
}

impl Restored {
    fn add(&mut self, more: Self) {
        self.revoked += more.revoked;
        self.held += more.held;
        self.invitations += more.invitations;
    }
}

/// The row that says that the book was restored.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Marker {
    /// When: what was issued before may be unknown here, what was issued later is not.
    #[cbor(n(0), with = "plain")]
    at: Timestamp,
    #[n(1)]
    epoch: u64,
}

/// A certificate under an issuer of ours that the book does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbooked {
    /// The id its machine gets if it has none here.
    pub machine: MachineId,
    /// Its serial.
    pub serial: Serial,
    /// Its identity.
    pub spiffe_id: SpiffeId,
    /// Its lineage.
    pub lineage: Lineage,
    /// Its key.
    pub key_hash: KeyHash,
    /// When it is valid.
    pub validity: Validity,
    /// The key of its issuer, which vouched for it.
    pub issuer: KeyHash,
    /// Its to-be-signed part.
    pub tbs: Vec<u8>,
    /// The certificate.
    pub certificate: Vec<u8>,
}

/// What came of meeting an unknown certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It cannot be from the time that was forgotten.
    Foreign,
    /// It, or its key, was revoked in that time.
    Revoked,
    /// Its lineage is known and it is the newest step of it: the machine goes on from there.
    Continued {
        /// The machine.
        machine: MachineId,
    },
    /// The machine may not renew.
    NotActive {
        /// The machine.
        machine: MachineId,
        /// Its status; held, if it was not known before.
        status: MachineStatus,
    },
}

/// Tells the book everything, in shares that fit one command each.
pub(crate) async fn tell(
    book: &Committer,
    restoration: Restoration,
    actor: Actor,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    let mut done = Restored::default();
    match restoration.revoked {
        Some(revoked) => {
            for share in revoked.chunks(SHARE).map(<[RevokedSerial]>::to_vec) {
                done.add(book.command(move |tx| take_back(tx, &share, now)).await?);
            }
        }
        None => {
            let mut from = None;
            loop {
                let (held, next) = book.command(move |tx| hold_some(tx, from)).await?;
                done.add(held);
                from = next;
                if from.is_none() {
                    break;
                }
            }
        }
    }
    loop {
        let voided = book.command(void_invitations).await?;
        done.add(voided);
        if voided.invitations < SHARE {
            break;
        }
    }
    book.command(move |tx| mark(tx, restoration.epoch, done, &actor, now)).await?;
    Ok(done)
}

/// Takes back revocations: what is known is struck and its machine held, what is unknown is listed all the same.
fn take_back(
    tx: &mut Transaction<'_>,
    entries: &[RevokedSerial],
    now: Timestamp,
) -> Result<Restored, StoreError> {
    let mut done = Restored::default();
    for entry in entries {
        match issuances::get(tx, entry.serial)? {
            Some(issuance) if issuance.revoked.is_some() => continue,
            Some(issuance) => {
                done.held += usize::from(hold(tx, issuance.machine)?);
                revocation::strike(tx, issuance, Cause::Restored, "revoked since the backup", now)?;
            }
            None => revoked_list::put(tx, entry)?,
        }
        done.revoked += 1;
    }
    if done.revoked > 0 {
        trust::advance(tx)?;
    }
    Ok(done)
}

fn hold(tx: &mut Transaction<'_>, machine: Option<MachineId>) -> Result<bool, StoreError> {
    let machine = machine.map(|id| machines::get(tx, id)).transpose()?.flatten();
    match machine.filter(|machine| machine.status == MachineStatus::Active) {
        Some(mut machine) => machines::set_status(tx, &mut machine, MachineStatus::Held).map(|()| true),
        None => Ok(false),
    }
}

/// Holds the active ones of the next machines from `from` on; also tells where to go on.
fn hold_some(tx: &mut Transaction<'_>, from: Option<Key>) -> Result<(Restored, Option<Key>), StoreError> {
    let from = from.unwrap_or_else(|| vec![keys::MACHINE]);
    let (mut active, next) =
        machines::some_from(tx, &from, SHARE, |one| one.status == MachineStatus::Active)?;
    for machine in &mut active {
        machines::set_status(tx, machine, MachineStatus::Held)?;
    }
    Ok((Restored { held: active.len(), ..Restored::default() }, next))
}

/// Voids invitations that may have been redeemed since; fewer than [`SHARE`] are the last.
fn void_invitations(tx: &mut Transaction<'_>) -> Result<Restored, StoreError> {
    let open = invitations::hashes(tx, SHARE, |invitation| invitation.used < invitation.uses)?;
    for hash in &open {
        invitations::remove(tx, hash)?;
    }
    Ok(Restored { invitations: open.len(), ..Restored::default() })
}

/// Marks the book as restored, after everything else.
fn mark(
    tx: &mut Transaction<'_>,
    epoch: u64,
    done: Restored,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.put(keys::RESTORED.to_vec(), &Marker { at: now, epoch })?;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let event = Event::new("book.restored", now)
        .actor(actor)
        .number("epoch", epoch)
        .number("revoked", count(done.revoked))
        .number("held", count(done.held))
        .number("invitations", count(done.invitations));
    events::append(tx, event)?;
    trust::advance(tx)
}

/// Whether a certificate that the book does not know may be one that it gave before it was restored, and is not revoked.
pub(crate) fn may_be_forgotten(
    rows: &impl Rows,
    serial: Serial,
    validity: Validity,
) -> Result<bool, StoreError> {
    let Some(marker) = rows.record::<Marker>(keys::RESTORED)? else { return Ok(false) };
    let listed = rows.row(&keys::revoked(validity.not_after(), serial))?.is_some();
    Ok(validity.not_before() < marker.at && !listed && issuances::get(rows, serial)?.is_none())
}

/// Meets a certificate at the renewal door that the book does not know.
pub(crate) fn meet(
    tx: &mut Transaction<'_>,
    met: &Unbooked,
    source: Source,
    now: Timestamp,
) -> Result<Met, StoreError> {
    let Some(marker) = tx.record::<Marker>(keys::RESTORED)? else { return Ok(Met::Foreign) };
    if met.validity.not_before() >= marker.at || issuances::get(tx, met.serial)?.is_some() {
        return Ok(Met::Foreign);
    }
    let listed = tx.row(&keys::revoked(met.validity.not_after(), met.serial))?.is_some();
    if listed || revocation::is_key_revoked(tx, &met.key_hash)? {
        return Ok(Met::Revoked);
    }
    match machines::of_lineage(tx, met.lineage)? {
        Some(machine) if machine.spiffe_id != met.spiffe_id => Ok(Met::Foreign),
        Some(machine) if machine.status != MachineStatus::Active => {
            Ok(Met::NotActive { machine: machine.id, status: machine.status })
        }
        Some(machine) => go_on(tx, machine, met, source, now),
        None => take_in(tx, met, source, now),
    }
}

/// The newest step goes on. An older one may be a copy's, and the book cannot tell: an operator must.
fn go_on(
    tx: &mut Transaction<'_>,
    mut machine: Machine,
    met: &Unbooked,
    source: Source,
    now: Timestamp,
) -> Result<Met, StoreError> {
    let event = |kind| {
        Event::new(kind, now).machine(machine.id, &machine.spiffe_id).serial(met.serial).source(source)
    };
    // Certificates count seconds: two steps of one second cannot be told apart.
    let newest = met.validity.not_after() >= machine.not_after;
    let told = event(if newest { "lineage.continued" } else { "machine.held" });
    events::append(tx, told.text("lineage", met.lineage))?;
    if !newest {
        machines::set_status(tx, &mut machine, MachineStatus::Held)?;
        return Ok(Met::NotActive { machine: machine.id, status: MachineStatus::Held });
    }
    issuances::adopt(tx, &issuance(met, machine.id, machine.profile.clone()), &met.tbs, &met.certificate)?;
    machine.confirm(step(met), now);
    machine.not_after = met.validity.not_after();
    machine.last_source = source.addr.or(machine.last_source);
    machines::put(tx, &machine)?;
    Ok(Met::Continued { machine: machine.id })
}

/// A lineage that began in the forgotten time: it is written down and waits for an operator.
fn take_in(
    tx: &mut Transaction<'_>,
    met: &Unbooked,
    source: Source,
    now: Timestamp,
) -> Result<Met, StoreError> {
    if machines::get(tx, met.machine)?.is_some() {
        // An id drawn twice: the machine comes again.
        return Ok(Met::Foreign);
    }
    let registration = registrations::get(tx, &met.spiffe_id)?;
    let profile = registration.map_or_else(|| NO_PROFILE.to_owned(), |registration| registration.profile);
    let machine = Machine {
        id: met.machine,
        spiffe_id: met.spiffe_id.clone(),
        lineage: met.lineage,
        status: MachineStatus::Held,
        enrolled: met.validity.not_before(),
        confirmed: step(met),
        pending: None,
        superseded: 0,
        last_seen: now,
        profile: profile.clone(),
        last_source: source.addr,
        not_after: met.validity.not_after(),
        abandoned: false,
        recovery: None,
        parent: None,
        deployed: None,
        hurry: None,
    };
    machines::create(tx, &machine)?;
    issuances::adopt(tx, &issuance(met, machine.id, profile), &met.tbs, &met.certificate)?;
    let event = Event::new("machine.held", now).machine(machine.id, &machine.spiffe_id).serial(met.serial);
    events::append(tx, event.text("lineage", met.lineage).source(source))?;
    Ok(Met::NotActive { machine: machine.id, status: MachineStatus::Held })
}

fn step(met: &Unbooked) -> Step {
    Step { serial: met.serial, key_hash: met.key_hash, not_after: met.validity.not_after() }
}

fn issuance(met: &Unbooked, machine: MachineId, profile: String) -> Issuance {
    Issuance {
        serial: met.serial,
        spiffe_id: met.spiffe_id.clone(),
        lineage: met.lineage,
        machine: Some(machine),
        key_hash: met.key_hash,
        validity: met.validity,
        profile,
        issuer: met.issuer,
        recorded: met.validity.not_before(),
        tbs_sha256: Sha256::digest(&met.tbs).into(),
        signed: true,
        revoked: None,
    }
}

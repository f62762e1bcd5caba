//! Revocation: an order on machines, lineages, serials or keys becomes a list of serials, bounded by their lifetime.

use std::collections::BTreeSet;
use std::fmt;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp};
use minicbor::{Decode, Encode};

use crate::events::{self, Event};
use crate::issuances::{self, Issuance};
use crate::machines::{self, Machine, MachineStatus, Whom};
use crate::records::plain;
use crate::revoked_list::{self, RevokedSerial};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, Refusal, StoreError, keys, recovery, trust, workloads};

/// What is to be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A machine: all its certificates, and it never renews again.
    Machine(MachineId),
    /// All machines of an identity.
    Identity(SpiffeId),
    /// All certificates of a lineage; its machine never renews again.
    Lineage(Lineage),
    /// One certificate, and what was had by renewing from it.
    Serial(Serial),
    /// All certificates with this key, and what was had by renewing from them.
    Key(KeyHash),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(id) => write!(f, "machine {id}"),
            Self::Identity(id) => write!(f, "identity {id}"),
            Self::Lineage(lineage) => write!(f, "lineage {lineage}"),
            Self::Serial(serial) => write!(f, "serial {serial}"),
            Self::Key(key) => write!(f, "key {key}"),
        }
    }
}

/// What an order revoked, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// The certificates.
    pub serials: Vec<Serial>,
    /// The machines that never renew again.
    pub machines: Vec<MachineId>,
    /// The workloads that fall with them.
    pub workloads: Vec<MachineId>,
}

/// What led to a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Cause {
    /// Someone ordered it.
    #[n(0)]
    Ordered,
    /// Another enrollment took the machine's registration.
    #[n(1)]
    Replaced,
    /// The machine asked for another certificate before presenting this one.
    #[n(2)]
    Superseded,
    /// The machine was removed.
    #[n(3)]
    Removed,
    /// The machine is suspended; this one may be taken back.
    #[n(4)]
    Suspended,
    /// It was revoked between a backup and the restore of that backup; why, the book has forgotten.
    #[n(5)]
    Restored,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordered => "ordered",
            Self::Replaced => "replaced",
            Self::Superseded => "superseded",
            Self::Removed => "removed",
            Self::Suspended => "suspended",
            Self::Restored => "restored",
        })
    }
}

/// When and why a certificate was revoked for good.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// When.
    #[cbor(n(0), with = "plain")]
    pub at: Timestamp,
    /// What led to it.
    #[n(1)]
    pub cause: Cause,
    /// The reason given, in words.
    #[n(2)]
    pub reason: String,
}

/// What `target` means now.
#[derive(Default)]
pub(crate) struct Plan {
    machines: Vec<Machine>,
    workloads: Vec<Machine>,
    issuances: Vec<Issuance>,
}

impl Plan {
    pub(crate) fn summary(&self) -> Revoked {
        Revoked {
            serials: self.issuances.iter().map(|issuance| issuance.serial).collect(),
            machines: self.machines.iter().map(|machine| machine.id).collect(),
            workloads: self.workloads.iter().map(|machine| machine.id).collect(),
        }
    }
}

pub(crate) fn plan(rows: &impl Rows, target: &Target, now: Timestamp) -> Result<Plan, StoreError> {
    let mut plan = Plan::default();
    match target {
        Target::Machine(id) => plan.machines = machines::meant(rows, &Whom::Machine(*id))?,
        Target::Identity(id) => plan.machines = machines::meant(rows, &Whom::Identity(id.clone()))?,
        Target::Lineage(lineage) => {
            plan.machines.extend(machines::of_lineage(rows, *lineage)?);
            plan.issuances = issuances::of_lineage(rows, *lineage, now)?;
        }
        Target::Serial(serial) => {
            let named = issuances::get(rows, *serial)?.into_iter().collect();
            plan.issuances = with_descendants(rows, named, now)?;
        }
        Target::Key(key) => plan.issuances = with_descendants(rows, with_key(rows, key, now)?, now)?,
    }
    for machine in &plan.machines {
        plan.workloads.extend(workloads::all_of(rows, machine.id)?);
    }
    for machine in plan.machines.iter().chain(&plan.workloads) {
        // Those of a lineage that was named are there already.
        if !matches!(target, Target::Lineage(lineage) if *lineage == machine.lineage) {
            plan.issuances.extend(issuances::of_lineage(rows, machine.lineage, now)?);
        }
    }
    plan.machines.retain(|machine| !machine.status.has_ended());
    plan.issuances.retain(|issuance| issuance.is_live(now));
    if plan.machines.is_empty() && plan.issuances.is_empty() {
        return Err(Refusal::NothingToRevoke { what: target.to_string() }.into());
    }
    Ok(plan)
}

/// Revokes what `target` means.
pub(crate) fn revoke(
    tx: &mut Transaction<'_>,
    target: &Target,
    reason: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<Revoked, StoreError> {
    let plan = match (plan(tx, target, now), target) {
        // A key that leaked is refused from now on, whether it has a live certificate or not.
        (Err(StoreError::Refused(Refusal::NothingToRevoke { .. })), Target::Key(_)) => Plan::default(),
        (plan, _) => plan?,
    };
    if let Target::Key(key) = target {
        tx.put(keys::revoked_key(key), &now.unix())?;
        let event = Event::new("key.revoked", now).actor(actor).text("key", key);
        events::append(tx, event.reason(reason))?;
    }
    let revoked = plan.summary();
    for machine in plan.machines.iter().chain(&plan.workloads) {
        let mut machine = machine.clone();
        machines::set_status(tx, &mut machine, MachineStatus::Revoked)?;
        let event = Event::new("machine.revoked", now).actor(actor).machine(machine.id, &machine.spiffe_id);
        events::append(tx, event.reason(reason))?;
    }
    if matches!(target, Target::Serial(_) | Target::Key(_)) {
        bar_holders(tx, &plan.issuances)?;
    }
    for issuance in plan.issuances {
        let event = Event::new("certificate.revoked", now).actor(actor).serial(issuance.serial);
        let event = event.text("spiffe_id", &issuance.spiffe_id).reason(reason);
        events::append(tx, event)?;
        strike(tx, issuance, Cause::Ordered, reason, now)?;
    }
    trust::advance(tx)?;
    Ok(revoked)
}

/// Whoever held a certificate that was revoked by its serial or key does not come back by itself once it has expired: by
/// then the book has forgotten the certificate.
fn bar_holders(tx: &mut Transaction<'_>, struck: &[Issuance]) -> Result<(), StoreError> {
    for id in struck.iter().filter_map(|issuance| issuance.machine).collect::<BTreeSet<_>>() {
        if let Some(mut machine) = machines::get(tx, id)? {
            recovery::bar(tx, &mut machine)?;
        }
    }
    Ok(())
}

/// How a public key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// Nothing is known of it, or nothing that lasts.
    Free,
    /// It is that of this certificate, which has not ended.
    Certified(Serial),
    /// An operator revoked it for good.
    Revoked,
}

pub(crate) fn key_standing(
    rows: &impl Rows,
    key: &KeyHash,
    now: Timestamp,
) -> Result<KeyStanding, StoreError> {
    if is_key_revoked(rows, key)? {
        return Ok(KeyStanding::Revoked);
    }
    let used = issuances::use_of_key(rows, key, now)?;
    Ok(used.map_or(KeyStanding::Free, |used| KeyStanding::Certified(used.serial)))
}

/// Whether an operator has revoked this key.
pub(crate) fn is_key_revoked(rows: &impl Rows, key: &KeyHash) -> Result<bool, StoreError> {
    let since: Option<i64> = rows.record(&keys::revoked_key(key))?;
    Ok(since.is_some())
}

/// Revokes one certificate for good. The caller writes the event and advances the trust sequence.
pub(crate) fn strike(
    tx: &mut Transaction<'_>,
    mut issuance: Issuance,
    cause: Cause,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    revoked_list::put(tx, &RevokedSerial::of(&issuance, cause))?;
    issuance.revoked = Some(Revocation { at: now, cause, reason: reason.to_owned() });
    issuances::put(tx, &issuance)
}

/// Ends a machine with all its certificates, and its workloads.
pub(crate) fn end(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    status: MachineStatus,
    cause: Cause,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    for mut one in workloads::all_of(tx, machine.id)? {
        end_one(tx, &mut one, status, cause, reason, now)?;
    }
    end_one(tx, machine, status, cause, reason, now)
}

fn end_one(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    status: MachineStatus,
    cause: Cause,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    machines::set_status(tx, machine, status)?;
    for issuance in issuances::of_lineage(tx, machine.lineage, now)? {
        if issuance.is_live(now) {
            strike(tx, issuance, cause, reason, now)?;
        }
    }
    Ok(())
}

/// Suspends a machine: its live certificates, and those of its workloads, are listed until it resumes.
pub(crate) fn suspend(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    now: Timestamp,
) -> Result<(), StoreError> {
    machines::set_status(tx, machine, MachineStatus::Suspended)?;
    for lineage in with_workloads(tx, machine)? {
        for issuance in issuances::of_lineage(tx, lineage, now)? {
            if issuance.is_live(now) {
                revoked_list::put(tx, &RevokedSerial::of(&issuance, Cause::Suspended))?;
            }
        }
    }
    Ok(())
}

/// Takes a machine's certificates off the list, save those revoked for good.
pub(crate) fn resume(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    now: Timestamp,
) -> Result<(), StoreError> {
    machines::set_status(tx, machine, MachineStatus::Active)?;
    let parent = machine.parent.map(|parent| machines::get(tx, parent)).transpose()?.flatten();
    if parent.is_some_and(|parent| parent.status == MachineStatus::Suspended) {
        // It comes off the list with its machine.
        return Ok(());
    }
    for lineage in with_workloads(tx, machine)? {
        for issuance in issuances::of_lineage(tx, lineage, now)? {
            if issuance.revoked.is_none() {
                revoked_list::take_off(tx, &issuance)?;
            }
        }
    }
    Ok(())
}

/// A machine's lineage, and those of its workloads that are not suspended for themselves.
fn with_workloads(rows: &impl Rows, machine: &Machine) -> Result<Vec<Lineage>, StoreError> {
    let workloads = workloads::all_of(rows, machine.id)?;
    let unsuspended = workloads.iter().filter(|one| one.status != MachineStatus::Suspended);
    Ok(std::iter::once(machine.lineage).chain(unsuspended.map(|one| one.lineage)).collect())
}

/// These, and every certificate their machine was given since on the strength of one: whoever stole a key may have
/// renewed with it, and a renewal that outlives the order would be the thief's.
fn with_descendants(
    rows: &impl Rows,
    named: Vec<Issuance>,
    now: Timestamp,
) -> Result<Vec<Issuance>, StoreError> {
    let mut found = named.clone();
    for ancestor in named {
        let Some(machine) = ancestor.machine.map(|id| machines::get(rows, id)).transpose()?.flatten() else {
            continue;
        };
        for issuance in issuances::of_lineage(rows, ancestor.lineage, now)? {
            let known = found.iter().any(|one| one.serial == issuance.serial);
            if !known && machine.descends(&issuance, &ancestor) {
                found.push(issuance);
            }
        }
    }
    Ok(found)
}

/// A retry gives one key several serials, all in one lineage.
fn with_key(rows: &impl Rows, key: &KeyHash, now: Timestamp) -> Result<Vec<Issuance>, StoreError> {
    let Some(used) = issuances::use_of_key(rows, key, now)? else { return Ok(Vec::new()) };
    let Some(newest) = issuances::get(rows, used.serial)? else { return Ok(Vec::new()) };
    let mut issuances = issuances::of_lineage(rows, newest.lineage, now)?;
    issuances.retain(|issuance| issuance.key_hash == *key);
    Ok(issuances)
}

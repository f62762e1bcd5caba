//! Machines: holders that enrolled.

use std::fmt;
use std::net::IpAddr;
use std::ops::ControlFlow;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp};
use countersign_issuance::LedgerRefusal;
use minicbor::{Decode, Encode};

use crate::cursor::{Cursor, Listing};
use crate::engine::Key;
use crate::events::{self, Event};
use crate::orders::Hurry;
use crate::records::{Record, corrupt, plain};
use crate::recovery::Recovery;
use crate::rows::{Rows, after_prefix, successor};
use crate::transaction::Transaction;
use crate::{Refusal, StoreError, counts, keys};

/// Whether a machine may renew, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum MachineStatus {
    /// It may.
    #[n(0)]
    Active,
    /// Not before an operator approves it; its certificates stand.
    #[n(1)]
    Held,
    /// Not before an operator resumes it; meanwhile its certificates are listed as revoked.
    #[n(2)]
    Suspended,
    /// Never again: an operator removed it.
    #[n(3)]
    Removed,
    /// Never again: another enrollment took its registration.
    #[n(4)]
    Replaced,
    /// Never again: it was revoked.
    #[n(5)]
    Revoked,
}

impl MachineStatus {
    /// Why a machine of this status is given nothing; `None` for an active one.
    #[must_use]
    pub const fn refusal(self) -> Option<LedgerRefusal> {
        match self {
            Self::Active => None,
            Self::Held => Some(LedgerRefusal::MachineHeld),
            Self::Suspended => Some(LedgerRefusal::MachineSuspended),
            Self::Removed => Some(LedgerRefusal::MachineRemoved),
            Self::Replaced => Some(LedgerRefusal::MachineReplaced),
            Self::Revoked => Some(LedgerRefusal::CertificateRevoked),
        }
    }

    /// The one of two that allows less.
    pub(crate) fn worse(self, other: Self) -> Self {
        let rank = |status| match status {
            Self::Active => 0,
            Self::Held => 1,
            Self::Suspended => 2,
            Self::Removed | Self::Replaced | Self::Revoked => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// Whether it can never come back.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Removed | Self::Replaced | Self::Revoked)
    }
}

impl fmt::Display for MachineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Held => "held",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
        })
    }
}

/// One certificate of a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Step {
    /// Its serial.
    #[cbor(n(0), with = "plain")]
    pub serial: Serial,
    /// Its key.
    #[cbor(n(1), with = "plain")]
    pub key_hash: KeyHash,
    /// Its last second.
    #[cbor(n(2), with = "plain")]
    pub not_after: Timestamp,
}

/// A holder that enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Machine {
    /// Its id.
    #[cbor(n(0), with = "plain")]
    pub id: MachineId,
    /// The identity it holds.
    #[cbor(n(1), with = "plain")]
    pub spiffe_id: SpiffeId,
    /// The chain of its certificates.
    #[cbor(n(2), with = "plain")]
    pub lineage: Lineage,
    /// Whether it may renew.
    #[n(3)]
    pub status: MachineStatus,
    /// When it enrolled.
    #[cbor(n(4), with = "plain")]
    pub enrolled: Timestamp,
    /// The certificate it presented last, or the one it enrolled with.
    #[n(5)]
    pub confirmed: Step,
    /// The certificate it was given and has not presented yet.
    #[n(6)]
    pub pending: Option<Step>,
    /// How many pending certificates were superseded since the last confirmation.
    #[n(7)]
    pub superseded: u8,
    /// When it last changed something here.
    #[cbor(n(8), with = "plain")]
    pub last_seen: Timestamp,
    /// The profile of its newest certificate.
    #[n(9)]
    pub profile: String,
    /// Where it last came from.
    #[cbor(n(10), with = "plain", has_nil)]
    pub last_source: Option<IpAddr>,
    /// The last second of all certificates it was ever given.
    #[cbor(n(11), with = "plain")]
    pub not_after: Timestamp,
    /// Whether the pending certificate's key has another unexpired one, which was abandoned.
    #[n(12)]
    #[cbor(default)]
    pub abandoned: bool,
    /// What became of its right to come back after expiry; none as long as it never needed it.
    #[n(13)]
    pub recovery: Option<Recovery>,
    /// The machine it is a workload of.
    #[cbor(n(14), with = "plain", has_nil)]
    pub parent: Option<MachineId>,
    /// The certificate that was last seen being served.
    #[n(15)]
    pub deployed: Option<Deployed>,
    /// Until when it should have renewed, by an operator's order.
    #[n(16)]
    pub hurry: Option<Hurry>,
}

/// A certificate was seen being served.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Deployed {
    /// Its serial.
    #[cbor(n(0), with = "plain")]
    pub serial: Serial,
    /// Where.
    #[n(1)]
    pub address: String,
    /// When.
    #[cbor(n(2), with = "plain")]
    pub at: Timestamp,
}

impl Machine {
    /// The newest certificate it was given.
    pub fn newest(&self) -> &Step {
        self.pending.as_ref().unwrap_or(&self.confirmed)
    }
}

/// A machine, or all machines of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Whom {
    /// This one.
    Machine(MachineId),
    /// All of this identity.
    Identity(SpiffeId),
}

/// Which machines a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineFilter {
    /// Only those of this identity.
    pub identity: Option<SpiffeId>,
    /// Only those of this status.
    pub status: Option<MachineStatus>,
}

pub(crate) fn get(rows: &impl Rows, id: MachineId) -> Result<Option<Machine>, StoreError> {
    rows.record(&keys::machine(id))
}

pub(crate) fn of_lineage(rows: &impl Rows, lineage: Lineage) -> Result<Option<Machine>, StoreError> {
    match rows.row(&keys::lineage(lineage))? {
        Some(id) => get(rows, id_in(&id)?),
        None => Ok(None),
    }
}

/// All machines of an identity.
pub(crate) fn of_identity(rows: &impl Rows, id: &SpiffeId) -> Result<Vec<Machine>, StoreError> {
    let mut machines = Vec::new();
    rows.walk_prefix(&keys::machines_of(id), |key, _| {
        machines.extend(get(rows, id_in(key)?)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(machines)
}

pub(crate) fn list(
    rows: &impl Rows,
    filter: &MachineFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<Machine>, StoreError> {
    let shown = |machine: &Machine| filter.status.is_none_or(|status| status == machine.status);
    match &filter.identity {
        Some(id) => Listing::gather(rows, &keys::machines_of(id), after, limit, |key, _| {
            Ok(get(rows, id_in(key)?)?.filter(shown))
        }),
        None => Listing::gather(rows, &[keys::MACHINE], after, limit, |key, octets| {
            Ok(Some(Machine::read(key, octets)?).filter(shown))
        }),
    }
}

/// The wanted ones of the next machines from the key `from` on, `most` of which are looked at; and where to go on.
pub(crate) fn some_from(
    rows: &impl Rows,
    from: &[u8],
    most: usize,
    wanted: impl Fn(&Machine) -> bool,
) -> Result<(Vec<Machine>, Option<Key>), StoreError> {
    let (mut found, mut looks, mut next) = (Vec::new(), 0, None);
    rows.walk(from, &after_prefix(&[keys::MACHINE]), |key, octets| {
        found.extend(Some(Machine::read(key, octets)?).filter(&wanted));
        looks += 1;
        if looks < most {
            return Ok(ControlFlow::Continue(()));
        }
        next = Some(successor(key));
        Ok(ControlFlow::Break(()))
    })?;
    Ok((found, next))
}

pub(crate) fn put(tx: &mut Transaction<'_>, machine: &Machine) -> Result<(), StoreError> {
    tx.put(keys::machine(machine.id), machine)
}

/// Writes a machine that has just enrolled, with its indexes.
pub(crate) fn create(tx: &mut Transaction<'_>, machine: &Machine) -> Result<(), StoreError> {
    tx.put(keys::machine(machine.id), machine)?;
    tx.put_octets(keys::machine_of(&machine.spiffe_id, machine.id), Vec::new())?;
    tx.put_octets(keys::lineage(machine.lineage), machine.id.as_bytes().to_vec())?;
    counts::change(tx, |c| counts::up(c.machines(machine.status)))
}

/// Forgets a machine.
pub(crate) fn forget(tx: &mut Transaction<'_>, machine: &Machine) -> Result<(), StoreError> {
    tx.remove(keys::machine(machine.id))?;
    tx.remove(keys::machine_of(&machine.spiffe_id, machine.id))?;
    tx.remove(keys::lineage(machine.lineage))?;
    if let Some(parent) = machine.parent {
        tx.remove(keys::workload(parent, &machine.spiffe_id))?;
    }
    counts::change(tx, |c| counts::down(c.machines(machine.status)))
}

/// A certificate of the machine was seen being served; what was seen before is not written again.
pub(crate) fn deployed(
    tx: &mut Transaction<'_>,
    id: MachineId,
    serial: Serial,
    address: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut machine = get(tx, id)?.ok_or(Refusal::MachineUnknown { id })?;
    if machine.deployed.as_ref().is_some_and(|seen| seen.serial == serial && seen.address == address) {
        return Ok(());
    }
    let event = Event::new("machine.deployed", now).machine(id, &machine.spiffe_id).serial(serial);
    events::append(tx, event.personal("address", &address))?;
    machine.deployed = Some(Deployed { serial, address, at: now });
    put(tx, &machine)
}

/// Gives a machine another status.
pub(crate) fn set_status(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    status: MachineStatus,
) -> Result<(), StoreError> {
    let before = std::mem::replace(&mut machine.status, status);
    counts::change(tx, |c| {
        counts::down(c.machines(before));
        counts::up(c.machines(status));
    })?;
    put(tx, machine)
}

/// The machines meant; there must be one.
pub(crate) fn meant(rows: &impl Rows, whom: &Whom) -> Result<Vec<Machine>, StoreError> {
    let machines = match whom {
        Whom::Machine(id) => vec![get(rows, *id)?.ok_or(Refusal::MachineUnknown { id: *id })?],
        Whom::Identity(id) => of_identity(rows, id)?,
    };
    match (machines.is_empty(), whom) {
        (true, Whom::Identity(id)) => Err(Refusal::NoMachineOf { id: id.clone() }.into()),
        _ => Ok(machines),
    }
}

/// The machine id a row ends with.
pub(crate) fn id_in(octets: &[u8]) -> Result<MachineId, StoreError> {
    let id = keys::tail::<8>(octets).ok_or_else(|| corrupt(octets, "ends in no machine id"))?;
    Ok(MachineId::from_random(id))
}

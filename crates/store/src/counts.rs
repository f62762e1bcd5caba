//! How many there are of everything, kept up by the commands themselves.

use minicbor::{Decode, Encode};

use crate::StoreError;
use crate::keys;
use crate::machines::MachineStatus;
use crate::rows::Rows;
use crate::transaction::Transaction;

/// How many there are of everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Counts {
    /// Registrations.
    #[n(0)]
    pub registrations: u64,
    /// Invitations that may still be redeemed or repeated.
    #[n(1)]
    pub invitations: u64,
    /// Active machines.
    #[n(2)]
    pub active: u64,
    /// Machines held for approval.
    #[n(3)]
    pub held: u64,
    /// Suspended machines.
    #[n(4)]
    pub suspended: u64,
    /// Machines that have ended and whose last certificate has not.
    #[n(5)]
    pub ended: u64,
    /// Issuances whose partition has not left yet.
    #[n(6)]
    pub issuances: u64,
    /// Events ever.
    #[n(7)]
    pub events: u64,
    /// Events that were handed on to the archive: the first of the others is the next one.
    #[cbor(skip)]
    pub archived: u64,
    /// Invitations that the list of their identity names; those of books from before there was one are not.
    #[n(8)]
    pub(crate) listed_invitations: Option<u64>,
}

impl Counts {
    /// The count a machine of this status is in.
    pub(crate) fn machines(&mut self, status: MachineStatus) -> &mut u64 {
        match status {
            MachineStatus::Active => &mut self.active,
            MachineStatus::Held => &mut self.held,
            MachineStatus::Suspended => &mut self.suspended,
            MachineStatus::Removed | MachineStatus::Replaced | MachineStatus::Revoked => &mut self.ended,
        }
    }
}

/// The counts as they stand.
pub(crate) fn read(rows: &impl Rows) -> Result<Counts, StoreError> {
    Ok(rows.record(keys::COUNTS)?.unwrap_or_default())
}

/// Changes the counts.
pub(crate) fn change(tx: &mut Transaction<'_>, change: impl FnOnce(&mut Counts)) -> Result<(), StoreError> {
    let mut counts = read(tx)?;
    change(&mut counts);
    tx.put(keys::COUNTS.to_vec(), &counts)
}

/// Takes the next event number.
pub(crate) fn next_event(tx: &mut Transaction<'_>) -> Result<u64, StoreError> {
    let mut counts = read(tx)?;
    counts.events += 1;
    tx.put(keys::COUNTS.to_vec(), &counts)?;
    Ok(counts.events)
}

/// One more.
pub(crate) fn up(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// One less.
pub(crate) fn down(count: &mut u64) {
    *count = count.saturating_sub(1);
}

//! Invitations: one-time secrets (known here by their hash alone) that bind keys to machines.

use std::ops::ControlFlow;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp};
use countersign_issuance::{Machines, Registration};
use minicbor::{Decode, Encode};

use crate::events::{self, Event};
use crate::records::plain;
use crate::registrations::{self, Written};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, Refusal, StoreError, counts, keys};

/// What is needed for an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitation {
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// The registration it leads to; created if it is not there.
    pub registration: Registration,
    /// The last second in which a new key may redeem it.
    pub expires: Timestamp,
    /// How many keys may redeem it.
    pub uses: u32,
}

/// What inviting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invited {
    /// Whether the registration was not there before.
    pub registration_created: bool,
    /// Whether there is an invitation now: a workload's certificates are fetched by its machine.
    pub invited: bool,
}

/// An invitation in the book.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invitation {
    /// The identity it leads to.
    #[cbor(n(0), with = "plain")]
    pub spiffe_id: SpiffeId,
    /// The last second in which a new key may redeem it.
    #[cbor(n(1), with = "plain")]
    pub expires: Timestamp,
    /// How many keys may redeem it.
    #[n(2)]
    pub uses: u32,
    /// How many have.
    #[n(3)]
    pub used: u32,
    /// When the last certificate given for it ends; so long its keys may repeat themselves.
    #[cbor(n(4), with = "plain", has_nil)]
    pub repeatable: Option<Timestamp>,
}

impl Invitation {
    /// Whether nobody can have anything of it any more.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.expires < now && self.repeatable.is_none_or(|last| last < now)
    }
}

/// What one key got for an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Redemption {
    /// The key.
    #[cbor(n(0), with = "plain")]
    pub key_hash: KeyHash,
    /// The machine it became.
    #[cbor(n(1), with = "plain")]
    pub machine: MachineId,
    /// Its lineage.
    #[cbor(n(2), with = "plain")]
    pub lineage: Lineage,
    /// The certificate recorded for it last.
    #[cbor(n(3), with = "plain")]
    pub serial: Serial,
    /// That certificate's last second.
    #[cbor(n(4), with = "plain")]
    pub not_after: Timestamp,
}

pub(crate) fn get(rows: &impl Rows, hash: &[u8; 32]) -> Result<Option<Invitation>, StoreError> {
    rows.record(&keys::invitation(hash))
}

pub(crate) fn redemption(
    rows: &impl Rows,
    hash: &[u8; 32],
    key: &KeyHash,
) -> Result<Option<Redemption>, StoreError> {
    rows.record(&keys::redemption(hash, key))
}

/// Creates the invitation, and its registration unless that stands just so. A workload gets a registration alone.
pub(crate) fn invite(
    tx: &mut Transaction<'_>,
    new: &NewInvitation,
    actor: &Actor,
    now: Timestamp,
) -> Result<Invited, StoreError> {
    let id = &new.registration.id;
    if new.uses > 1 && new.registration.machines == Machines::One {
        return Err(Refusal::UsesNeedMany { id: id.clone(), uses: new.uses }.into());
    }
    if get(tx, &new.hash)?.is_some() {
        return Err(Refusal::InvitationExists.into());
    }
    let registration_created = match registrations::get(tx, id)? {
        Some(standing) => {
            let differences = standing.differences(&new.registration);
            if !differences.is_empty() {
                return Err(Refusal::RegistrationDiffers { id: id.clone(), differences }.into());
            }
            false
        }
        None => registrations::write(tx, &new.registration, actor, now)? == Written::Created,
    };
    if new.registration.parent.is_some() {
        return Ok(Invited { registration_created, invited: false });
    }
    let invitation =
        Invitation { spiffe_id: id.clone(), expires: new.expires, uses: new.uses, used: 0, repeatable: None };
    tx.put_new(keys::invitation(&new.hash), &invitation)?;
    tx.put_octets(keys::invitation_to(id, &new.hash), Vec::new())?;
    counts::change(tx, |c| {
        counts::up(&mut c.invitations);
        counts::up(c.listed_invitations.get_or_insert_default());
    })?;
    let event = Event::new("invitation.created", now)
        .actor(actor)
        .text("spiffe_id", id)
        .text("expires", new.expires)
        .number("uses", new.uses.into());
    events::append(tx, event)?;
    Ok(Invited { registration_created, invited: true })
}

/// Binds a key to the invitation.
pub(crate) fn bind(
    tx: &mut Transaction<'_>,
    hash: &[u8; 32],
    invitation: &mut Invitation,
    redemption: &Redemption,
) -> Result<(), StoreError> {
    invitation.repeatable = invitation.repeatable.max(Some(redemption.not_after));
    tx.put(keys::invitation(hash), invitation)?;
    tx.put(keys::redemption(hash, &redemption.key_hash), redemption)
}

/// Removes every invitation to an identity.
pub(crate) fn remove_all(tx: &mut Transaction<'_>, id: &SpiffeId) -> Result<(), StoreError> {
    let counts = counts::read(tx)?;
    let hashes = match counts.listed_invitations == Some(counts.invitations) {
        true => listed(tx, id)?,
        // Some are older than the list.
        false => hashes(tx, usize::MAX, |invitation| invitation.spiffe_id == *id)?,
    };
    for hash in hashes {
        remove(tx, &hash)?;
    }
    Ok(())
}

fn listed(rows: &impl Rows, id: &SpiffeId) -> Result<Vec<[u8; 32]>, StoreError> {
    let mut listed = Vec::new();
    rows.walk_prefix(&keys::invitations_to(id), |key, _| {
        listed.extend(keys::tail::<32>(key));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(listed)
}

/// The hashes of at most `limit` invitations that `which` picks.
pub(crate) fn hashes(
    rows: &impl Rows,
    limit: usize,
    which: impl Fn(&Invitation) -> bool,
) -> Result<Vec<[u8; 32]>, StoreError> {
    let mut picked = Vec::new();
    rows.walk_prefix(&[keys::INVITATION], |key, octets| {
        if picked.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        let invitation: Invitation = crate::records::Record::read(key, octets)?;
        if which(&invitation) {
            picked.extend(keys::tail::<32>(key));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(picked)
}

/// Forgets an invitation and what its keys got for it.
pub(crate) fn remove(tx: &mut Transaction<'_>, hash: &[u8; 32]) -> Result<(), StoreError> {
    let Some(invitation) = get(tx, hash)? else { return Ok(()) };
    let mut rows = vec![keys::invitation(hash)];
    let entry = keys::invitation_to(&invitation.spiffe_id, hash);
    let listed = tx.row(&entry)?.is_some();
    rows.extend(listed.then_some(entry));
    tx.walk_prefix(&keys::redemptions(hash), |key, _| {
        rows.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    for row in rows {
        tx.remove(row)?;
    }
    counts::change(tx, |c| {
        counts::down(&mut c.invitations);
        if listed {
            counts::down(c.listed_invitations.get_or_insert_default());
        }
    })
}

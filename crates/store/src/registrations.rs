//! Registrations: who may have certificates, and which identity has which name.

use std::ops::ControlFlow;

use countersign_identity::{SpiffeId, Timestamp};
use countersign_issuance::{Registration, TokenKey};

use crate::cursor::{Cursor, Listing};
use crate::events::{self, Event};
use crate::records::{RegistrationRow, corrupt};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, Refusal, StoreError, counts, invitations, keys, workloads};

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Registrations that were not there.
    pub created: Vec<SpiffeId>,
    /// Registrations that said something else.
    pub changed: Vec<SpiffeId>,
    /// Registrations that stood like this already.
    pub unchanged: Vec<SpiffeId>,
}

/// How a write changed the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Created,
    Changed,
    Unchanged,
}

pub(crate) fn get(rows: &impl Rows, id: &SpiffeId) -> Result<Option<Registration>, StoreError> {
    let row: Option<RegistrationRow> = rows.record(&keys::registration(id))?;
    row.map(|row| row.try_into().map_err(|e: minicbor::decode::Error| corrupt(b"R", &e.to_string())))
        .transpose()
}

/// The registration in a row.
pub(crate) fn read(key: &[u8], octets: &[u8]) -> Result<Registration, StoreError> {
    let row: RegistrationRow = crate::records::Record::read(key, octets)?;
    Registration::try_from(row).map_err(|e| corrupt(key, &e.to_string()))
}

pub(crate) fn list(
    rows: &impl Rows,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<Registration>, StoreError> {
    Listing::gather(rows, &[keys::REGISTRATION], after, limit, |key, octets| read(key, octets).map(Some))
}

/// Creates or changes a registration; its names must be free.
pub(crate) fn write(
    tx: &mut Transaction<'_>,
    registration: &Registration,
    actor: &Actor,
    now: Timestamp,
) -> Result<Written, StoreError> {
    let before = get(tx, &registration.id)?;
    let mut after = registration.clone();
    if let Some(before) = &before {
        if before.differences(registration).is_empty() {
            return Ok(Written::Unchanged);
        }
        after.created = before.created;
        forget_names(tx, before)?;
    }
    take_names(tx, &after)?;
    tx.put(keys::registration(&after.id), &RegistrationRow::from(&after))?;
    workloads::relist(tx, before.as_ref(), Some(&after))?;
    let kind = match before {
        Some(_) => "registration.changed",
        None => "registration.created",
    };
    let event =
        Event::new(kind, now).actor(actor).text("spiffe_id", &after.id).text("profile", &after.profile);
    events::append(tx, event)?;
    note_token_keys(tx, before.as_ref(), Some(&after), actor, now)?;
    if before.is_some() {
        return Ok(Written::Changed);
    }
    counts::change(tx, |c| counts::up(&mut c.registrations))?;
    Ok(Written::Created)
}

/// Removes a registration and every invitation to it. Its machines end with their certificates (Invariant 3).
pub(crate) fn remove(
    tx: &mut Transaction<'_>,
    id: &SpiffeId,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let registration = get(tx, id)?.ok_or_else(|| Refusal::RegistrationUnknown { id: id.clone() })?;
    forget_names(tx, &registration)?;
    invitations::remove_all(tx, id)?;
    tx.remove(keys::registration(id))?;
    workloads::relist(tx, Some(&registration), None)?;
    counts::change(tx, |c| counts::down(&mut c.registrations))?;
    events::append(tx, Event::new("registration.removed", now).actor(actor).text("spiffe_id", id))?;
    note_token_keys(tx, Some(&registration), None, actor, now)
}

/// Tells of each key of client assertions that came or went. One with another end or owner went and came.
fn note_token_keys(
    tx: &mut Transaction<'_>,
    before: Option<&Registration>,
    after: Option<&Registration>,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let keys = |of: Option<&Registration>| of.map(|one| one.token_keys.clone()).unwrap_or_default();
    let (old, new) = (keys(before), keys(after));
    let Some(id) = before.or(after).map(|one| &one.id) else { return Ok(()) };
    let event = |kind: &'static str, key: &TokenKey| {
        let event = Event::new(kind, now).actor(actor).text("spiffe_id", id);
        event.text("kid", &key.id).text("key", key.key_hash())
    };
    for key in old.iter().filter(|key| !new.contains(key)) {
        events::append(tx, event("token_key.removed", key))?;
    }
    for key in new.iter().filter(|key| !old.contains(key)) {
        let added = event("token_key.added", key).text("until", key.until);
        let added = match &key.owner {
            Some(owner) => added.text("owner", owner),
            None => added,
        };
        events::append(tx, added)?;
    }
    Ok(())
}

/// Creates or changes all of these, or none if one of them may not stand.
pub(crate) fn import(
    tx: &mut Transaction<'_>,
    registrations: &[Registration],
    actor: &Actor,
    now: Timestamp,
) -> Result<Imported, StoreError> {
    let mut imported = Imported::default();
    for registration in registrations {
        let list = match write(tx, registration, actor, now)? {
            Written::Created => &mut imported.created,
            Written::Changed => &mut imported.changed,
            Written::Unchanged => &mut imported.unchanged,
        };
        list.push(registration.id.clone());
    }
    Ok(imported)
}

fn take_names(tx: &mut Transaction<'_>, registration: &Registration) -> Result<(), StoreError> {
    for name in names(registration) {
        if let Some(by) = conflicting(tx, &name, registration)? {
            return Err(Refusal::NameTaken { name, by }.into());
        }
        tx.put_octets(keys::name(&name, &registration.id), Vec::new())?;
    }
    Ok(())
}

fn forget_names(tx: &mut Transaction<'_>, registration: &Registration) -> Result<(), StoreError> {
    for name in names(registration) {
        tx.remove(keys::name(&name, &registration.id))?;
    }
    Ok(())
}

/// Another identity with this name, unless both registrations are shared.
fn conflicting(
    rows: &impl Rows,
    name: &str,
    registration: &Registration,
) -> Result<Option<SpiffeId>, StoreError> {
    for by in holders(rows, name)? {
        if by == registration.id {
            continue;
        }
        let theirs_shared = get(rows, &by)?.is_some_and(|theirs| theirs.shared);
        if !(registration.shared && theirs_shared) {
            return Ok(Some(by));
        }
    }
    Ok(None)
}

/// The identities that have a name.
pub(crate) fn holders(rows: &impl Rows, name: &str) -> Result<Vec<SpiffeId>, StoreError> {
    let prefix = keys::names(name);
    let mut holders = Vec::new();
    rows.walk_prefix(&prefix, |key, _| {
        let text = key.get(prefix.len()..).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default();
        holders.push(text.parse().map_err(|_| corrupt(key, "ends in no SPIFFE ID"))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(holders)
}

fn names(registration: &Registration) -> Vec<String> {
    let dns = registration.dns.iter().map(ToString::to_string);
    dns.chain(registration.ip.iter().map(ToString::to_string)).collect()
}

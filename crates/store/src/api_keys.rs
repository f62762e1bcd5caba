//! API keys: secrets known here by a keyed hash alone, each for one identity at one service, until an end.

use std::ops::ControlFlow;
use std::time::Duration;

use countersign_identity::{ApiKeyId, KeyHash, SpiffeId, Timestamp};
use minicbor::{Decode, Encode};

use crate::cursor::{Cursor, Listing};
use crate::events::{self, Event};
use crate::records::{Record, corrupt, plain};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, Refusal, StoreError, keys, trust, withdrawn};

/// A key that has ended is still listed so long, so that whoever looks for it finds why it works no more.
const LISTED: Duration = Duration::from_hours(30 * 24);

/// The last use of a key is written anew when it is older than this.
const COARSE: Duration = Duration::from_hours(1);

/// So long before its end a key is told of, and again with less time left.
const WARNINGS: [Duration; 3] =
    [Duration::from_hours(14 * 24), Duration::from_hours(7 * 24), Duration::from_hours(24)];

/// An API key in the book.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ApiKeyRecord {
    /// Its id.
    #[cbor(n(0), with = "plain")]
    pub id: ApiKeyId,
    /// The keyed hash of its secret.
    #[cbor(n(1), with = "plain")]
    pub hash: [u8; 32],
    /// Which key of the CA the hash is under.
    #[cbor(n(2), with = "plain")]
    pub under: KeyHash,
    /// Whom it speaks for.
    #[cbor(n(3), with = "plain")]
    pub spiffe_id: SpiffeId,
    /// Where.
    #[n(4)]
    pub service: String,
    /// What it may do there at most: `service:action`.
    #[n(5)]
    pub permissions: Vec<String>,
    /// When it was made.
    #[cbor(n(6), with = "plain")]
    pub created: Timestamp,
    /// The first second in which it is refused.
    #[cbor(n(7), with = "plain")]
    pub expires: Timestamp,
    /// The operator's words for it.
    #[n(8)]
    pub note: String,
    /// When it was last used, to the hour.
    #[cbor(n(9), with = "plain", has_nil)]
    pub last_used: Option<Timestamp>,
    /// When it was revoked.
    #[cbor(n(10), with = "plain", has_nil)]
    pub revoked: Option<Timestamp>,
    /// The key that takes its place.
    #[cbor(n(11), with = "plain", has_nil)]
    pub successor: Option<ApiKeyId>,
    /// How many warnings of its end have been given.
    #[n(12)]
    pub warned: u32,
}

impl ApiKeyRecord {
    /// Whether it is neither revoked nor over.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}

/// Which API keys a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiKeyFilter {
    /// Only those of this identity.
    pub identity: Option<SpiffeId>,
    /// Only those for this service.
    pub service: Option<String>,
}

pub(crate) fn get(rows: &impl Rows, id: ApiKeyId) -> Result<Option<ApiKeyRecord>, StoreError> {
    rows.record(&keys::api_key(id))
}

pub(crate) fn list(
    rows: &impl Rows,
    filter: &ApiKeyFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<ApiKeyRecord>, StoreError> {
    Listing::gather(rows, &[keys::API_KEY], after, limit, |key, octets| {
        let record = ApiKeyRecord::read(key, octets)?;
        let of_identity = filter.identity.as_ref().is_none_or(|id| record.spiffe_id == *id);
        let at_service = filter.service.as_ref().is_none_or(|service| record.service == *service);
        Ok((of_identity && at_service).then_some(record))
    })
}

/// Writes a new key, and when the one it replaces ends.
pub(crate) fn create(
    tx: &mut Transaction<'_>,
    new: &ApiKeyRecord,
    replaces: Option<(ApiKeyId, Timestamp)>,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    if get(tx, new.id)?.is_some() {
        return Err(corrupt(&keys::api_key(new.id), "a random id came a second time"));
    }
    let mut event = told("api_key.created", new, now).actor(actor).text("expires", new.expires);
    if let Some((old, ends)) = replaces {
        let mut old = known(tx, old)?;
        if !old.is_alive(now) {
            return Err(Refusal::ApiKeyEnded { id: old.id }.into());
        }
        tx.remove(keys::api_key_end(old.expires, old.id))?;
        old.expires = old.expires.min(ends);
        old.successor = Some(new.id);
        put(tx, &old)?;
        event = told("api_key.rotated", new, now).actor(actor).text("expires", new.expires);
        event = event.text("replaces", old.id).text("replaced_until", old.expires);
    }
    put(tx, new)?;
    let permissions = new.permissions.join(" ");
    events::append(tx, event.text("scope", permissions))
}

/// Revokes a key; one that is revoked stays as it is.
pub(crate) fn revoke(
    tx: &mut Transaction<'_>,
    id: ApiKeyId,
    reason: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut key = known(tx, id)?;
    if key.revoked.is_some() {
        return Ok(());
    }
    key.revoked = Some(now);
    put(tx, &key)?;
    events::append(tx, told("api_key.revoked", &key, now).actor(actor).reason(reason))?;
    withdrawn::changed(tx)?;
    trust::advance(tx)
}

/// Remembers when keys were used.
pub(crate) fn note_uses(tx: &mut Transaction<'_>, uses: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
    for (id, at) in uses {
        let Some(mut key) = get(tx, *id)? else { continue };
        if key.last_used.is_none_or(|last| last + COARSE <= *at) {
            key.last_used = Some(*at);
            put(tx, &key)?;
        }
    }
    Ok(())
}

/// Tells of keys that end soon: each once for every warning, and none that has a successor. At most `most` at once; how
/// many were told of.
pub(crate) fn warn(tx: &mut Transaction<'_>, now: Timestamp, most: usize) -> Result<usize, StoreError> {
    let [first, ..] = WARNINGS;
    let mut due = Vec::new();
    let until = keys::partition(keys::API_KEY_END, now + first + Duration::from_hours(1));
    tx.walk(&keys::partition(keys::API_KEY_END, now), &until, |key, _| {
        let Some(record) = id_in(key).map(|id| get(tx, id)).transpose()?.flatten() else {
            return Ok(ControlFlow::Continue(()));
        };
        let steps = WARNINGS.iter().filter(|before| record.expires <= now + **before).count();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if record.is_alive(now) && record.successor.is_none() && steps > record.warned {
            due.push(ApiKeyRecord { warned: steps, ..record });
        }
        Ok(if due.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for key in &due {
        put(tx, key)?;
        events::append(tx, told("api_key.expiring", key, now).text("expires", key.expires))?;
    }
    Ok(due.len())
}

/// Lets keys leave that ended long ago, at most `most`; how many left.
pub(crate) fn forget(tx: &mut Transaction<'_>, now: Timestamp, most: usize) -> Result<usize, StoreError> {
    let mut over = Vec::new();
    tx.walk(&[keys::API_KEY_END], &keys::partition(keys::API_KEY_END, now - LISTED), |key, _| {
        over.push(key.to_vec());
        Ok(if over.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for key in &over {
        if let Some(id) = id_in(key) {
            tx.remove(keys::api_key(id))?;
        }
        tx.remove(key.clone())?;
    }
    Ok(over.len())
}

/// The ids of the revoked keys that services might still accept, were they not told.
pub(crate) fn revoked(rows: &impl Rows, now: Timestamp) -> Result<Vec<ApiKeyId>, StoreError> {
    let mut ids = Vec::new();
    rows.walk(&keys::partition(keys::API_KEY_END, now), &[keys::API_KEY_END + 1], |key, _| {
        let record = id_in(key).map(|id| get(rows, id)).transpose()?.flatten();
        ids.extend(record.filter(|key| key.revoked.is_some() && now < key.expires).map(|key| key.id));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ids)
}

fn known(rows: &impl Rows, id: ApiKeyId) -> Result<ApiKeyRecord, StoreError> {
    Ok(get(rows, id)?.ok_or(Refusal::ApiKeyUnknown { id })?)
}

fn put(tx: &mut Transaction<'_>, key: &ApiKeyRecord) -> Result<(), StoreError> {
    tx.put_octets(keys::api_key_end(key.expires, key.id), Vec::new())?;
    tx.put(keys::api_key(key.id), key)
}

fn id_in(key: &[u8]) -> Option<ApiKeyId> {
    keys::tail(key).map(ApiKeyId::from_random)
}

fn told(kind: &'static str, key: &ApiKeyRecord, now: Timestamp) -> Event {
    Event::new(kind, now).text("key", key.id).text("spiffe_id", &key.spiffe_id).text("service", &key.service)
}

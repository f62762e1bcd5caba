//! What is withdrawn before its end and has no serial: revoked API keys, and revoked access tokens by their ids.

use std::ops::ControlFlow;

use countersign_identity::{ApiKeyId, Timestamp};

use crate::events::{self, Event};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, StoreError, api_keys, keys, trust};

/// The id of an access token (`jti`): 128 random bits.
pub type TokenId = [u8; 16];

/// An access token that is to die before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedToken {
    /// Its id.
    pub id: TokenId,
    /// Its last moment; behind it nothing is remembered.
    pub expires: Timestamp,
    /// Whose it was.
    pub subject: String,
    /// The service it was for.
    pub service: String,
}

/// What verifiers must refuse though it has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// API keys.
    pub api_keys: Vec<ApiKeyId>,
    /// Access tokens.
    pub tokens: Vec<TokenId>,
}

/// How often it has changed.
pub(crate) fn version(rows: &impl Rows) -> Result<u64, StoreError> {
    Ok(rows.record(keys::WITHDRAWN)?.unwrap_or_default())
}

/// It has changed, inside the command that changes it.
pub(crate) fn changed(tx: &mut Transaction<'_>) -> Result<(), StoreError> {
    let next = version(tx)? + 1;
    tx.put(keys::WITHDRAWN.to_vec(), &next)
}

/// Everything withdrawn and not over at `now`.
pub(crate) fn at(rows: &impl Rows, now: Timestamp) -> Result<Withdrawn, StoreError> {
    let mut withdrawn = Withdrawn { api_keys: api_keys::revoked(rows, now)?, tokens: Vec::new() };
    rows.walk(&keys::partition(keys::DEAD_TOKEN, now), &[keys::DEAD_TOKEN + 1], |key, _| {
        withdrawn.tokens.extend(keys::tail::<16>(key));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(withdrawn)
}

/// Whether a token of this id and end was revoked.
pub(crate) fn is_revoked(rows: &impl Rows, id: &TokenId, expires: Timestamp) -> Result<bool, StoreError> {
    Ok(rows.row(&keys::dead_token(expires, id))?.is_some())
}

/// Remembers a token until its end; one that is revoked or over already changes nothing.
pub(crate) fn revoke_token(
    tx: &mut Transaction<'_>,
    token: &RevokedToken,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    if token.expires <= now || is_revoked(tx, &token.id, token.expires)? {
        return Ok(());
    }
    tx.put_octets(keys::dead_token(token.expires, &token.id), Vec::new())?;
    let event = Event::new("token.revoked", now).actor(actor).text("spiffe_id", &token.subject);
    events::append(tx, event.text("service", &token.service).text("expires", token.expires))?;
    changed(tx)?;
    trust::advance(tx)
}

/// Lets tokens leave that are over, at most `most`; how many left.
pub(crate) fn forget(tx: &mut Transaction<'_>, now: Timestamp, most: usize) -> Result<usize, StoreError> {
    let mut over = Vec::new();
    tx.walk(&[keys::DEAD_TOKEN], &keys::partition(keys::DEAD_TOKEN, now), |key, _| {
        over.push(key.to_vec());
        Ok(if over.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let left = over.len();
    for key in over {
        tx.remove(key)?;
    }
    Ok(left)
}

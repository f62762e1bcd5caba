//! What verifiers must learn of: the trust sequence, issuers, policies, roots documents.

use std::ops::ControlFlow;
use std::sync::Arc;

use countersign_identity::{KeyHash, Timestamp};
use minicbor::{Decode, Encode};

use crate::engine::Change;
use crate::events::{self, Event};
use crate::records::{Record, corrupt, plain};
use crate::revoked_list::{self, Relisted};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, Refusal, StoreError, keys, withdrawn};

/// The longest policy: some hundred thousand rules.
const LONGEST_POLICY: usize = 16 * 1024 * 1024;
/// A long policy stands in several rows, each well below the longest value.
const POLICY_PIECE: usize = 256 * 1024;

/// Whether an issuer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum IssuerState {
    /// It signs. There is one.
    #[n(0)]
    Active,
    /// It has been rotated out; what it signed stands.
    #[n(1)]
    Retiring,
    /// It was revoked, and with it all it signed.
    #[n(2)]
    Revoked,
}

/// A CA certificate that signs, or did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IssuerRecord {
    /// Its key.
    #[cbor(n(0), with = "plain")]
    pub key_hash: KeyHash,
    /// The certificate.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub der: Vec<u8>,
    /// Its last second.
    #[cbor(n(2), with = "plain")]
    pub not_after: Timestamp,
    /// Whether it signs.
    #[n(3)]
    pub state: IssuerState,
    /// When it came into the book.
    #[cbor(n(4), with = "plain")]
    pub created: Timestamp,
}

/// A permission policy as applied.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PolicyRecord {
    /// The first policy is 1.
    #[n(0)]
    pub number: u64,
    /// SHA-256 of the text.
    #[cbor(n(1), with = "plain")]
    pub version: [u8; 32],
    /// The text.
    #[n(2)]
    pub text: String,
    /// When it was applied.
    #[cbor(n(3), with = "plain")]
    pub applied: Timestamp,
    /// By whom.
    #[n(4)]
    pub actor: String,
}

/// A roots document, exactly as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootsDocument {
    /// Its version; the first one is 1.
    pub version: u64,
    /// Its bytes.
    pub document: Arc<[u8]>,
}

/// What a trust snapshot is made of, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustState {
    /// The trust sequence.
    pub sequence: u64,
    /// Every issuer, the oldest first.
    pub issuers: Vec<IssuerRecord>,
    /// The policy that applies.
    pub policy: Option<PolicyRecord>,
    /// How often the list of revoked API keys and tokens has changed; [`Store::withdrawn`](crate::Store::withdrawn) reads it.
    pub withdrawn: u64,
    /// What happened to the list of revoked serials behind the sequence that the caller knows, in its order; `None` if
    /// that has partly left: then the list must be read anew, by [`Store::revoked`](crate::Store::revoked).
    pub relisted: Option<Vec<Relisted>>,
}

/// All that changed behind `known`.
pub(crate) fn state(rows: &impl Rows, known: u64) -> Result<TrustState, StoreError> {
    Ok(TrustState {
        sequence: sequence(rows)?,
        issuers: issuers(rows)?,
        policy: current_policy(rows)?,
        withdrawn: withdrawn::version(rows)?,
        relisted: revoked_list::changes(rows, known)?,
    })
}

/// The trust sequence: how often what verifiers must know has changed.
pub(crate) fn sequence(rows: &impl Rows) -> Result<u64, StoreError> {
    Ok(rows.record(keys::TRUST)?.unwrap_or_default())
}

/// The trust sequence after a group, if the group changed it.
pub(crate) fn changed_sequence(changes: &[Change]) -> Result<Option<u64>, StoreError> {
    let change = changes.iter().find(|change| change.key == keys::TRUST);
    change.and_then(|change| change.new.as_ref()).map(|octets| u64::read(keys::TRUST, octets)).transpose()
}

/// Raises the trust sequence, inside the command that changes trust.
pub(crate) fn advance(tx: &mut Transaction<'_>) -> Result<(), StoreError> {
    let next = sequence(tx)? + 1;
    tx.put(keys::TRUST.to_vec(), &next)
}

pub(crate) fn issuers(rows: &impl Rows) -> Result<Vec<IssuerRecord>, StoreError> {
    let mut issuers = Vec::new();
    rows.walk_prefix(&[keys::ISSUER], |key, octets| {
        issuers.push(IssuerRecord::read(key, octets)?);
        Ok(ControlFlow::Continue(()))
    })?;
    issuers.sort_by_key(|issuer| (issuer.created, issuer.key_hash));
    Ok(issuers)
}

/// Writes an issuer. Another one that was active retires when this one is.
pub(crate) fn record_issuer(
    tx: &mut Transaction<'_>,
    record: &IssuerRecord,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    if record.state == IssuerState::Active {
        for mut other in issuers(tx)? {
            if other.state == IssuerState::Active && other.key_hash != record.key_hash {
                other.state = IssuerState::Retiring;
                tx.put(keys::issuer(&other.key_hash), &other)?;
            }
        }
    }
    tx.put(keys::issuer(&record.key_hash), record)?;
    let state = match record.state {
        IssuerState::Active => "issuer.activated",
        IssuerState::Retiring => "issuer.retired",
        IssuerState::Revoked => "issuer.revoked",
    };
    let event = Event::new(state, now).actor(actor).text("issuer", record.key_hash);
    events::append(tx, event.text("not_after", record.not_after))?;
    advance(tx)
}

pub(crate) fn policy(rows: &impl Rows, number: u64) -> Result<Option<PolicyRecord>, StoreError> {
    let Some(mut record) = rows.record::<PolicyRecord>(&keys::policy(number))? else { return Ok(None) };
    for n in 0.. {
        let key = keys::policy_rest(number, n);
        let Some(octets) = rows.row(&key)? else { break };
        let rest = std::str::from_utf8(&octets).map_err(|e| corrupt(&key, &e.to_string()))?;
        record.text.push_str(rest);
    }
    Ok(Some(record))
}

/// The policy that applies.
pub(crate) fn current_policy(rows: &impl Rows) -> Result<Option<PolicyRecord>, StoreError> {
    match rows.record(keys::POLICY_NUMBER)? {
        Some(number) => policy(rows, number),
        None => Ok(None),
    }
}

/// Applies a policy; one that applies already is left as it is.
pub(crate) fn set_policy(
    tx: &mut Transaction<'_>,
    version: [u8; 32],
    text: String,
    actor: &Actor,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let before = current_policy(tx)?;
    if let Some(before) = &before
        && before.version == version
    {
        return Ok(before.number);
    }
    if text.len() > LONGEST_POLICY {
        return Err(StoreError::TooLarge { found: text.len(), limit: LONGEST_POLICY });
    }
    let number = before.map_or(0, |policy| policy.number) + 1;
    let (first, mut rest) = text.split_at(text.floor_char_boundary(POLICY_PIECE));
    let (text, actor_text) = (first.to_owned(), actor.to_string());
    tx.put_new(
        keys::policy(number),
        &PolicyRecord { number, version, text, applied: now, actor: actor_text },
    )?;
    for n in 0.. {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at(rest.floor_char_boundary(POLICY_PIECE));
        tx.put_new_octets(keys::policy_rest(number, n), piece.as_bytes().to_vec())?;
        rest = more;
    }
    tx.put(keys::POLICY_NUMBER.to_vec(), &number)?;
    let event = Event::new("policy.applied", now).actor(actor).number("number", number);
    events::append(tx, event.text("version", KeyHash::from_bytes(version)))?;
    advance(tx)?;
    Ok(number)
}

/// All roots documents, the first one first.
pub(crate) fn roots(rows: &impl Rows) -> Result<Vec<RootsDocument>, StoreError> {
    let mut documents = Vec::new();
    rows.walk_prefix(&[keys::ROOTS], |key, document| {
        let version = keys::tail(key).map(u64::from_be_bytes).unwrap_or_default();
        documents.push(RootsDocument { version, document: document.clone() });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(documents)
}

/// Adds the next roots document; the same one again changes nothing (Invariant 9).
pub(crate) fn add_roots(
    tx: &mut Transaction<'_>,
    version: u64,
    document: Vec<u8>,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let standing = roots(tx)?.pop();
    if standing.as_ref().is_some_and(|last| last.version == version && *last.document == *document) {
        return Ok(());
    }
    let newest = standing.map_or(0, |last| last.version);
    if version != newest + 1 {
        return Err(Refusal::RootsOutOfOrder { found: version, newest }.into());
    }
    tx.put_new_octets(keys::roots(version), document)?;
    events::append(tx, Event::new("roots.recorded", now).actor(actor).number("version", version))?;
    advance(tx)
}

//! Uses: when an identity last used a permission, as the verifiers report it. A policy change is judged by them.

use std::time::Duration;

use countersign_identity::{SpiffeId, Timestamp};
use minicbor::{Decode, Encode};

use crate::StoreError;
use crate::cursor::{Cursor, Listing};
use crate::events::{self, Event};
use crate::keys;
use crate::records::{Record, corrupt, plain};
use crate::rows::Rows;
use crate::transaction::Transaction;

/// What was used so long ago is no longer worth a row: longer than any quarterly job.
const KEPT: Duration = Duration::from_hours(100 * 24);

/// A row is written anew when it is older than this: who asks "lately" asks about days.
const COARSE: Duration = Duration::from_hours(1);

/// An identity used a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionUse {
    /// Who.
    pub spiffe_id: SpiffeId,
    /// What, `service:action`.
    pub permission: String,
    /// When last, to the hour.
    pub last: Timestamp,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct UseRow {
    #[cbor(n(0), with = "plain")]
    last: Timestamp,
}

/// Writes down what a verifier reports: the events, and what they say was used.
pub(crate) fn report(
    tx: &mut Transaction<'_>,
    events: Vec<Event>,
    uses: &[PermissionUse],
) -> Result<(), StoreError> {
    for event in events {
        events::append(tx, event)?;
    }
    for one in uses {
        let key = keys::used(&one.spiffe_id, &one.permission);
        let known: Option<UseRow> = tx.record(&key)?;
        if known.is_none_or(|known| known.last + COARSE <= one.last) {
            tx.put(key, &UseRow { last: one.last })?;
        }
    }
    Ok(())
}

/// Uses in the order of the identities.
pub(crate) fn list(
    rows: &impl Rows,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<PermissionUse>, StoreError> {
    Listing::gather(rows, &[keys::USE], after, limit, |key, octets| {
        let last = UseRow::read(key, octets)?.last;
        let text = key.get(1..).and_then(|text| std::str::from_utf8(text).ok());
        let parts = text.and_then(|text| text.split_once('\0'));
        let (id, permission) = parts.ok_or_else(|| corrupt(key, "names no identity and permission"))?;
        let spiffe_id = id.parse().map_err(|_| corrupt(key, "names no SPIFFE ID"))?;
        Ok(Some(PermissionUse { spiffe_id, permission: permission.to_owned(), last }))
    })
}

/// Whether a row has outlived its use.
pub(crate) fn is_old(key: &[u8], octets: &[u8], now: Timestamp) -> Result<bool, StoreError> {
    Ok(UseRow::read(key, octets)?.last + KEPT < now)
}

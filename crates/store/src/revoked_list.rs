//! The revoked list: the serials verifiers must refuse, and what came onto it or left it lately.

use std::ops::ControlFlow;

use countersign_identity::{KeyHash, Serial, Timestamp};
use minicbor::{Decode, Encode};

use crate::cursor::{Cursor, Listing};
use crate::issuances::{self, Issuance};
use crate::records::{Record, plain};
use crate::revocation::Cause;
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{StoreError, keys, trust};

/// Changes of the list that are kept for those who follow it, in steps of the trust sequence: whoever is further behind
/// reads the list anew.
const FOLLOWED: u64 = 256;

/// One line of the list of revoked serials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevokedSerial {
    /// The serial.
    #[cbor(n(0), with = "plain")]
    pub serial: Serial,
    /// The key of its issuer.
    #[cbor(n(1), with = "plain")]
    pub issuer: KeyHash,
    /// When the line may leave: the certificate's last second.
    #[cbor(n(2), with = "plain")]
    pub not_after: Timestamp,
    /// What led to it.
    #[n(3)]
    pub cause: Cause,
}

/// One serial that came onto the list or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relisted {
    /// It is to be refused.
    On(RevokedSerial),
    /// It is good again.
    Off(Serial),
}

impl RevokedSerial {
    /// The line of a certificate.
    pub(crate) fn of(issuance: &Issuance, cause: Cause) -> Self {
        let Issuance { serial, issuer, validity, .. } = issuance;
        Self { serial: *serial, issuer: *issuer, not_after: validity.not_after(), cause }
    }
}

/// Lists a serial. The caller advances the trust sequence.
pub(crate) fn put(tx: &mut Transaction<'_>, entry: &RevokedSerial) -> Result<(), StoreError> {
    tx.put(keys::revoked(entry.not_after, entry.serial), entry)?;
    tx.put(keys::relisted(trust::sequence(tx)? + 1, entry.serial), entry)
}

/// Takes a certificate off the list. The caller advances the trust sequence.
pub(crate) fn take_off(tx: &mut Transaction<'_>, issuance: &Issuance) -> Result<(), StoreError> {
    tx.remove(keys::revoked(issuance.validity.not_after(), issuance.serial))?;
    tx.put_octets(keys::relisted(trust::sequence(tx)? + 1, issuance.serial), Vec::new())
}

/// The list as verifiers need it: every unexpired line, in the order in which they end.
pub(crate) fn list(
    rows: &impl Rows,
    now: Timestamp,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<RevokedSerial>, StoreError> {
    let from = keys::partition(keys::REVOKED, now);
    Listing::gather_range(rows, &from, &[keys::REVOKED + 1], after, limit, |key, octets| {
        let entry = RevokedSerial::read(key, octets)?;
        Ok(Some(entry).filter(|entry| now <= entry.not_after))
    })
}

/// What happened to the list behind trust sequence `known`; `None` if that has partly left already.
pub(crate) fn changes(rows: &impl Rows, known: u64) -> Result<Option<Vec<Relisted>>, StoreError> {
    if rows.record::<u64>(keys::RELISTED_FROM)?.is_some_and(|gone| known < gone) {
        return Ok(None);
    }
    let mut changes = Vec::new();
    rows.walk(&keys::relisted_behind(known), &[keys::RELISTED + 1], |key, octets| {
        changes.push(if octets.is_empty() {
            Relisted::Off(issuances::serial_in(key)?)
        } else {
            Relisted::On(RevokedSerial::read(key, octets)?)
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Some(changes))
}

/// Lets changes leave that whoever follows the list has seen long since: at most `most`; how many left.
pub(crate) fn forget_changes(tx: &mut Transaction<'_>, most: usize) -> Result<usize, StoreError> {
    let keep_from = keys::relisted_behind(trust::sequence(tx)?.saturating_sub(FOLLOWED));
    let mut over = Vec::new();
    tx.walk(&[keys::RELISTED], &keep_from, |key, _| {
        over.push(key.to_vec());
        Ok(if over.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if let Some(sequence) = over.last().and_then(|key| key.get(1..9)?.first_chunk()) {
        tx.put(keys::RELISTED_FROM.to_vec(), &u64::from_be_bytes(*sequence))?;
    }
    let left = over.len();
    for key in over {
        tx.remove(key)?;
    }
    Ok(left)
}

/// Lets lines leave whose hour is over, at most `most`; how many left. Most have left with their issuance.
pub(crate) fn forget_ended(
    tx: &mut Transaction<'_>,
    now: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let mut over = Vec::new();
    tx.walk(&[keys::REVOKED], &keys::partition(keys::REVOKED, now), |key, _| {
        over.push(key.to_vec());
        Ok(if over.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let left = over.len();
    for key in over {
        tx.remove(key)?;
    }
    Ok(left)
}

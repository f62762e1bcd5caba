//! Issuances: what was recorded to be signed, what came of it, and until when it counts.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp, Validity};
use countersign_issuance::{Intent, LIFETIMES};
use minicbor::{Decode, Decoder, Encode};
use sha2::{Digest, Sha256};

use crate::cursor::{Cursor, Listing};
use crate::records::{Record, corrupt, plain};
use crate::revocation::Revocation;
use crate::rows::{Rows, after_prefix};
use crate::transaction::Transaction;
use crate::{StoreError, counts, keys, machines};

/// One recorded intent. It counts as a live certificate from the moment it is recorded, signed or not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Issuance {
    /// The serial.
    #[cbor(n(0), with = "plain")]
    pub serial: Serial,
    /// The identity in the certificate.
    #[cbor(n(1), with = "plain")]
    pub spiffe_id: SpiffeId,
    /// The lineage in the certificate.
    #[cbor(n(2), with = "plain")]
    pub lineage: Lineage,
    /// The machine it was recorded for; none for the CA's own.
    #[cbor(n(3), with = "plain", has_nil)]
    pub machine: Option<MachineId>,
    /// The certified key.
    #[cbor(n(4), with = "plain")]
    pub key_hash: KeyHash,
    /// When the certificate is valid.
    #[cbor(n(5), with = "plain")]
    pub validity: Validity,
    /// The profile it was approved under.
    #[n(6)]
    pub profile: String,
    /// The issuer's key.
    #[cbor(n(7), with = "plain")]
    pub issuer: KeyHash,
    /// When it was approved.
    #[cbor(n(8), with = "plain")]
    pub recorded: Timestamp,
    /// SHA-256 of the bytes that were recorded to be signed.
    #[cbor(n(9), with = "plain")]
    pub tbs_sha256: [u8; 32],
    /// Whether the signed certificate is kept here.
    #[n(10)]
    pub signed: bool,
    /// When and why it was revoked.
    #[n(11)]
    pub revoked: Option<Revocation>,
}

impl Issuance {
    /// Unexpired and unrevoked.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now <= self.validity.not_after()
    }

    fn new(intent: &Intent, machine: Option<MachineId>) -> Self {
        Self {
            serial: intent.serial(),
            spiffe_id: intent.spiffe_id().clone(),
            lineage: intent.lineage(),
            machine,
            key_hash: intent.key_hash(),
            validity: intent.validity(),
            profile: intent.profile().to_owned(),
            issuer: intent.issuer(),
            recorded: intent.time(),
            tbs_sha256: Sha256::digest(intent.tbs()).into(),
            signed: false,
            revoked: None,
        }
    }
}

/// An issuance with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// What is known of it.
    pub issuance: Issuance,
    /// The exact bytes recorded to be signed.
    pub tbs: Arc<[u8]>,
    /// The signed certificate, if it was kept.
    pub certificate: Option<Arc<[u8]>>,
}

/// Which issuances a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuanceFilter {
    /// Only those of this identity.
    pub identity: Option<SpiffeId>,
    /// Only those of this machine.
    pub machine: Option<MachineId>,
    /// Only those unexpired and unrevoked at this moment.
    pub live_at: Option<Timestamp>,
    /// Only those whose last second is before this moment.
    pub ending_before: Option<Timestamp>,
}

impl IssuanceFilter {
    fn shows(&self, issuance: &Issuance) -> bool {
        self.identity.as_ref().is_none_or(|id| *id == issuance.spiffe_id)
            && self.machine.is_none_or(|id| Some(id) == issuance.machine)
            && self.live_at.is_none_or(|at| issuance.is_live(at))
            && self.ending_before.is_none_or(|end| issuance.validity.not_after() < end)
    }
}

/// The newest certificate with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct KeyUse {
    #[cbor(n(0), with = "plain")]
    pub(crate) serial: Serial,
    #[cbor(n(1), with = "plain")]
    pub(crate) not_after: Timestamp,
}

/// The second value in an issuance's row (RFC 8742): one row each, so that an issuance costs one write, and one more when
/// its certificate is kept.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Bytes {
    /// What was recorded to be signed; once signed, the certificate around it.
    #[cbor(n(0), with = "minicbor::bytes")]
    octets: Vec<u8>,
    /// Where in there the recorded part begins.
    #[n(1)]
    from: usize,
    /// How long it is.
    #[n(2)]
    length: usize,
}

impl Bytes {
    fn to_be_signed(tbs: &[u8]) -> Self {
        Self { octets: tbs.to_vec(), from: 0, length: tbs.len() }
    }

    fn tbs(&self) -> Option<&[u8]> {
        self.octets.get(self.from..)?.get(..self.length)
    }

    /// The certificate, if it holds what was recorded right behind its outer header.
    fn signed_as(&self, certificate: &[u8]) -> Option<Self> {
        let tbs = self.tbs()?;
        let from =
            (2..=LONGEST_HEADER).find(|at| certificate.get(*at..).is_some_and(|c| c.starts_with(tbs)))?;
        Some(Self { octets: certificate.to_vec(), from, length: self.length })
    }
}

/// Tag and length of a certificate below 64 KiB (X.690 §8.1).
const LONGEST_HEADER: usize = 4;

/// What follows the first value of an issuance's row.
fn after_issuance<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let mut decoder = Decoder::new(row);
    decoder.skip().map_err(|e| corrupt(key, &e.to_string()))?;
    row.get(decoder.position()..).ok_or_else(|| corrupt(key, "it is cut"))
}

pub(crate) fn get(rows: &impl Rows, serial: Serial) -> Result<Option<Issuance>, StoreError> {
    rows.record(&keys::issuance(serial))
}

pub(crate) fn with_bytes(rows: &impl Rows, serial: Serial) -> Result<Option<IssuedCertificate>, StoreError> {
    let key = keys::issuance(serial);
    let Some(row) = rows.row(&key)? else { return Ok(None) };
    let issuance = Issuance::read(&key, &row)?;
    let bytes = Bytes::read(&key, after_issuance(&key, &row)?)?;
    let tbs = bytes.tbs().ok_or_else(|| corrupt(&key, "its bytes are cut"))?.into();
    let certificate = issuance.signed.then(|| bytes.octets.as_slice().into());
    Ok(Some(IssuedCertificate { issuance, tbs, certificate }))
}

/// In the order in which they end, hour by hour.
pub(crate) fn list(
    rows: &impl Rows,
    filter: &IssuanceFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<Issuance>, StoreError> {
    let from = filter.live_at.map_or_else(|| vec![keys::ENDING], |at| keys::partition(keys::ENDING, at));
    let to = match filter.ending_before {
        Some(end) => after_prefix(&keys::partition(keys::ENDING, end)),
        None => vec![keys::ENDING + 1],
    };
    Listing::gather_range(rows, &from, &to, after, limit, |key, _| {
        Ok(get(rows, serial_in(key)?)?.filter(|issuance| filter.shows(issuance)))
    })
}

/// The certificate that makes a key unusable at this moment.
pub(crate) fn use_of_key(
    rows: &impl Rows,
    key: &KeyHash,
    now: Timestamp,
) -> Result<Option<KeyUse>, StoreError> {
    let found: Option<KeyUse> = rows.record(&keys::key_hash(key))?;
    Ok(found.filter(|used| now <= used.not_after))
}

/// Writes an intent with its indexes.
pub(crate) fn create(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    machine: Option<MachineId>,
) -> Result<(), StoreError> {
    let (serial, not_after) = (intent.serial(), intent.validity().not_after());
    let key = keys::issuance(serial);
    let mut row = Issuance::new(intent, machine).write(&key)?;
    row.extend(Bytes::to_be_signed(intent.tbs()).write(&key)?);
    tx.put_octets(key, row)?;
    tx.put_new_octets(keys::ending(not_after, intent.lineage(), serial), Vec::new())?;
    tx.put(keys::key_hash(&intent.key_hash()), &KeyUse { serial, not_after })?;
    counts::change(tx, |c| counts::up(&mut c.issuances))
}

/// Writes an issuance with its certificate that another book recorded and this one lost.
pub(crate) fn adopt(
    tx: &mut Transaction<'_>,
    issuance: &Issuance,
    tbs: &[u8],
    certificate: &[u8],
) -> Result<(), StoreError> {
    let (serial, not_after) = (issuance.serial, issuance.validity.not_after());
    let key = keys::issuance(serial);
    let bytes = Bytes::to_be_signed(tbs).signed_as(certificate);
    let bytes = bytes.ok_or_else(|| corrupt(&key, "something else was signed"))?;
    let mut row = issuance.write(&key)?;
    row.extend(bytes.write(&key)?);
    tx.put_octets(key, row)?;
    tx.put_octets(keys::ending(not_after, issuance.lineage, serial), Vec::new())?;
    tx.put(keys::key_hash(&issuance.key_hash), &KeyUse { serial, not_after })?;
    counts::change(tx, |c| counts::up(&mut c.issuances))
}

/// Writes what is known of an issuance anew; its bytes stay.
pub(crate) fn put(tx: &mut Transaction<'_>, issuance: &Issuance) -> Result<(), StoreError> {
    let key = keys::issuance(issuance.serial);
    let before = tx.row(&key)?.ok_or_else(|| corrupt(&key, "it is missing"))?;
    let mut row = issuance.write(&key)?;
    row.extend(after_issuance(&key, &before)?);
    tx.put_octets(key, row)
}

/// Keeps the signed certificate; the bytes that were recorded to be signed are a part of it.
pub(crate) fn keep(tx: &mut Transaction<'_>, serial: Serial, certificate: &[u8]) -> Result<(), StoreError> {
    let key = keys::issuance(serial);
    let Some(row) = tx.row(&key)? else { return Ok(()) };
    let mut issuance = Issuance::read(&key, &row)?;
    let recorded = Bytes::read(&key, after_issuance(&key, &row)?)?;
    let bytes = recorded.signed_as(certificate).ok_or_else(|| corrupt(&key, "something else was signed"))?;
    issuance.signed = true;
    let mut row = issuance.write(&key)?;
    row.extend(bytes.write(&key)?);
    tx.put_octets(key, row)
}

/// The issuances of a lineage that have not ended.
///
/// They stand in the partitions from now on, as far as the lineage's machine was given certificates; without a machine
/// (the CA's own; one long gone) as far as any lifetime reaches.
pub(crate) fn of_lineage(
    rows: &impl Rows,
    lineage: Lineage,
    now: Timestamp,
) -> Result<Vec<Issuance>, StoreError> {
    let end = machines::of_lineage(rows, lineage)?.map_or(now + *LIFETIMES.end(), |m| m.not_after);
    let mut issuances = Vec::new();
    let mut at = now;
    while keys::partition(keys::ENDING, at) <= keys::partition(keys::ENDING, end) {
        rows.walk_prefix(&keys::ending_of(at, lineage), |key, _| {
            issuances.extend(get(rows, serial_in(key)?)?);
            Ok(ControlFlow::Continue(()))
        })?;
        at = at + Duration::from_hours(1);
    }
    Ok(issuances)
}

/// Forgets an issuance.
pub(crate) fn forget(tx: &mut Transaction<'_>, issuance: &Issuance) -> Result<(), StoreError> {
    let (serial, not_after) = (issuance.serial, issuance.validity.not_after());
    tx.remove(keys::ending(not_after, issuance.lineage, serial))?;
    tx.remove(keys::revoked(not_after, serial))?;
    tx.remove(keys::issuance(serial))?;
    let key = keys::key_hash(&issuance.key_hash);
    // A retry may have put the same key into a later certificate.
    if tx.record::<KeyUse>(&key)?.is_some_and(|used| used.serial == serial) {
        tx.remove(key)?;
    }
    counts::change(tx, |c| counts::down(&mut c.issuances))
}

/// The serial a key ends with.
pub(crate) fn serial_in(key: &[u8]) -> Result<Serial, StoreError> {
    keys::tail::<18>(key)
        .and_then(|octets| Serial::from_be_bytes(&octets).ok())
        .ok_or_else(|| corrupt(key, "ends in no serial"))
}

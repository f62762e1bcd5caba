//! Issuances: what was recorded to be signed, what came of it, and until when it counts.

use std::ops::ControlFlow;
use std::sync::Arc;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp, Validity};
use countersign_issuance::Intent;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::cursor::{Cursor, Listing};
use crate::records::plain;
use crate::revocation::Revocation;
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{StoreError, counts, keys};

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

pub(crate) fn get(rows: &impl Rows, serial: Serial) -> Result<Option<Issuance>, StoreError> {
    rows.record(&keys::issuance(serial))
}

/// The signed certificate of an issuance.
pub(crate) fn certificate(rows: &impl Rows, issuance: &Issuance) -> Result<Option<Arc<[u8]>>, StoreError> {
    if !issuance.signed {
        return Ok(None);
    }
    let not_after = issuance.validity.not_after();
    rows.row(&keys::in_partition(keys::CERTIFICATE, not_after, issuance.serial))
}

pub(crate) fn with_bytes(rows: &impl Rows, serial: Serial) -> Result<Option<IssuedCertificate>, StoreError> {
    let Some(issuance) = get(rows, serial)? else { return Ok(None) };
    let tbs = rows.row(&keys::in_partition(keys::TBS, issuance.validity.not_after(), serial))?;
    let tbs = tbs.ok_or_else(|| StoreError::Corrupt { what: format!("serial {serial} has no bytes") })?;
    let certificate = certificate(rows, &issuance)?;
    Ok(Some(IssuedCertificate { issuance, tbs, certificate }))
}

/// In the order in which they end, hour by hour.
pub(crate) fn list(
    rows: &impl Rows,
    filter: &IssuanceFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing<Issuance>, StoreError> {
    let from = filter.live_at.map_or_else(|| vec![keys::TBS], |at| keys::partition(keys::TBS, at));
    let to = match filter.ending_before {
        Some(end) => crate::rows::after_prefix(&keys::partition(keys::TBS, end)),
        None => vec![keys::TBS + 1],
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
    tx.put(keys::issuance(serial), &Issuance::new(intent, machine))?;
    tx.put_new_octets(keys::in_partition(keys::TBS, not_after, serial), intent.tbs().to_vec())?;
    tx.put_new_octets(keys::serial_of(intent.lineage(), serial), Vec::new())?;
    tx.put(keys::key_hash(&intent.key_hash()), &KeyUse { serial, not_after })?;
    counts::change(tx, |c| counts::up(&mut c.issuances))
}

/// Keeps the signed certificate beside its intent.
pub(crate) fn keep(tx: &mut Transaction<'_>, serial: Serial, certificate: &[u8]) -> Result<(), StoreError> {
    let Some(mut issuance) = get(tx, serial)? else { return Ok(()) };
    let key = keys::in_partition(keys::CERTIFICATE, issuance.validity.not_after(), serial);
    tx.put_octets(key, certificate.to_vec())?;
    issuance.signed = true;
    tx.put(keys::issuance(serial), &issuance)
}

/// All issuances of a lineage that have not left.
pub(crate) fn of_lineage(rows: &impl Rows, lineage: Lineage) -> Result<Vec<Issuance>, StoreError> {
    let mut issuances = Vec::new();
    rows.walk_prefix(&keys::serials_of(lineage), |key, _| {
        issuances.extend(get(rows, serial_in(key)?)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(issuances)
}

/// Forgets an issuance.
pub(crate) fn forget(tx: &mut Transaction<'_>, issuance: &Issuance) -> Result<(), StoreError> {
    let (serial, not_after) = (issuance.serial, issuance.validity.not_after());
    for kind in [keys::TBS, keys::CERTIFICATE, keys::REVOKED] {
        tx.remove(keys::in_partition(kind, not_after, serial))?;
    }
    tx.remove(keys::issuance(serial))?;
    tx.remove(keys::serial_of(issuance.lineage, serial))?;
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
        .ok_or_else(|| crate::records::corrupt(key, "ends in no serial"))
}

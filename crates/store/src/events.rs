//! Events: exact bytes in the order of their numbers, written in the same step as the act they tell of.
//!
//! The bytes are canonical JSON (RFC 8785) for the subset used: objects with ASCII keys in order, texts, whole numbers
//! below 2^53, booleans. Personal fields are in there only as salted commitments; value and salt stand beside the bytes
//! and can be forgotten while those stay.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use countersign_identity::{MachineId, Serial, SpiffeId, Timestamp, hex};
use countersign_issuance::Source;
use minicbor::{Decode, Encode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::counts;
use crate::keys;
use crate::records::{Record, corrupt, plain};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{Actor, StoreError};

/// Something that happened, before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    time: Timestamp,
    kind: &'static str,
    fields: BTreeMap<&'static str, Field>,
    personal: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Number(u64),
    Flag(bool),
}

impl Event {
    /// Something of this kind happened. Kinds read `noun.participle`, such as `machine.enrolled`.
    pub fn new(kind: &'static str, time: Timestamp) -> Self {
        Self { time, kind, fields: BTreeMap::new(), personal: BTreeMap::new() }
    }

    /// With a text.
    pub fn text(mut self, field: &'static str, value: impl ToString) -> Self {
        self.fields.insert(field, Field::Text(value.to_string()));
        self
    }

    /// With a number; RFC 8785 leaves exact ones up to 2^53 - 1.
    pub fn number(mut self, field: &'static str, value: u64) -> Self {
        self.fields.insert(field, Field::Number(value.min((1 << 53) - 1)));
        self
    }

    /// With a yes or no.
    pub fn flag(mut self, field: &'static str, value: bool) -> Self {
        self.fields.insert(field, Field::Flag(value));
        self
    }

    /// With something about a person or their device: the event holds a commitment only.
    pub fn personal(mut self, field: &'static str, value: impl ToString) -> Self {
        self.personal.insert(field, value.to_string());
        self
    }

    pub(crate) fn actor(self, actor: &Actor) -> Self {
        self.text("actor", actor)
    }

    pub(crate) fn reason(self, reason: &str) -> Self {
        if reason.is_empty() { self } else { self.text("reason", reason) }
    }

    pub(crate) fn source(self, source: Source) -> Self {
        self.address("source", source.addr)
    }

    pub(crate) fn address(self, field: &'static str, address: Option<IpAddr>) -> Self {
        match address {
            Some(address) => self.personal(field, address),
            None => self,
        }
    }

    pub(crate) fn machine(self, machine: MachineId, id: &SpiffeId) -> Self {
        self.text("machine", machine).text("spiffe_id", id)
    }

    pub(crate) fn serial(self, serial: Serial) -> Self {
        self.text("serial", serial)
    }
}

/// An event as it stands in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number; the first event is 1.
    pub seq: u64,
    /// Its exact bytes.
    pub bytes: Arc<[u8]>,
    /// What its commitments stand for, unless forgotten.
    pub personal: Vec<Personal>,
}

/// A personal field of an event. The event holds hex of SHA-256 over salt and value.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Personal {
    /// The field it stands for.
    #[n(0)]
    pub field: String,
    /// What makes the commitment impossible to guess.
    #[cbor(n(1), with = "plain")]
    pub salt: [u8; 16],
    /// The value.
    #[n(2)]
    pub value: String,
}

impl Personal {
    /// What the event's bytes hold in this field's place.
    pub fn commitment(&self) -> String {
        let digest = Sha256::new().chain_update(self.salt).chain_update(self.value.as_bytes()).finalize();
        hex::encode(&digest)
    }
}

/// An event in the book: one row, so that an event costs one write. Forgetting a person rewrites it without field 1.
#[derive(Encode, Decode)]
#[cbor(map)]
struct EventRow {
    #[cbor(n(0), with = "minicbor::bytes")]
    bytes: Vec<u8>,
    #[n(1)]
    personal: Vec<Personal>,
}

/// Appends an event: it gets the next number.
pub(crate) fn append(tx: &mut Transaction<'_>, event: Event) -> Result<(), StoreError> {
    let seq = counts::next_event(tx)?;
    let personal: Vec<Personal> = event
        .personal
        .into_iter()
        .map(|(field, value)| Personal { field: field.to_owned(), salt: tx.salt(), value })
        .collect();
    let mut fields = event.fields;
    fields.insert("v", Field::Number(1));
    fields.insert("seq", Field::Number(seq));
    fields.insert("time", Field::Text(event.time.to_string()));
    fields.insert("kind", Field::Text(event.kind.to_owned()));
    let committed = personal.iter().map(|p| (p.field.as_str(), Field::Text(p.commitment())));
    let all: BTreeMap<&str, Field> = fields.into_iter().chain(committed).collect();
    let key = keys::event(seq);
    let bytes = serde_json::to_vec(&all).map_err(|e| corrupt(&key, &e.to_string()))?;
    tx.put_new(key, &EventRow { bytes, personal })
}

/// Events behind number `after`.
pub(crate) fn list(rows: &impl Rows, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
    let mut events = Vec::new();
    let from = keys::event(after.saturating_add(1));
    rows.walk(&from, &keys::event(u64::MAX), |key, row| {
        if events.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        let seq = keys::tail(key).map(u64::from_be_bytes).unwrap_or_default();
        let EventRow { bytes, personal } = EventRow::read(key, row)?;
        events.push(StoredEvent { seq, bytes: bytes.into(), personal });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(events)
}

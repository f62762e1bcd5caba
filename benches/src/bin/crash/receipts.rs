//! What everyone was told: the other side of the book.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use countersign_bench::{pem, tls};
use sha2::{Digest as _, Sha256};

/// A certificate as somebody holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Held {
    /// Lower-case hex.
    pub(crate) serial: String,
    pub(crate) spiffe_id: String,
    /// SHA-256 of the public key, hex.
    pub(crate) key: String,
}

impl Held {
    /// What the first certificate of a chain says.
    pub(crate) fn read(chain: &str) -> Result<Self> {
        let chain = pem::certificates(chain)?;
        let leaf = chain.first().context("an empty chain")?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)?;
        let serial = hex(parsed.raw_serial());
        let key = sha256(parsed.public_key().raw);
        Ok(Self { serial: serial.trim_start_matches("00").to_owned(), spiffe_id: tls::spiffe_id(leaf)?, key })
    }
}

/// In hex.
pub(crate) fn sha256(octets: &[u8]) -> String {
    hex(&Sha256::digest(octets))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// All that was acknowledged so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipts {
    /// Certificates that were answered.
    pub(crate) held: Vec<Held>,
    /// Serials whose revocation was answered.
    pub(crate) revoked: Vec<String>,
    /// Identities whose invitation was answered.
    pub(crate) invited: Vec<String>,
    /// Events that a reader has seen, by number.
    pub(crate) seen: BTreeMap<u64, String>,
    /// Refusals nobody should have got.
    pub(crate) complaints: Vec<String>,
}

/// Receipts that many write.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Receipts>);

impl Ledger {
    pub(crate) fn open(&self) -> MutexGuard<'_, Receipts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

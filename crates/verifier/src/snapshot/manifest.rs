//! What a snapshot says itself, and the parts it names by their hashes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_identity::{Timestamp, hex};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::fault::SnapshotFault;
use crate::jws::{Compact, General};

/// `typ` of every trust snapshot.
const KIND: &str = "countersign-trust+jws";

/// The largest snapshot read: an honest one of a million revocations names some 500 parts in 60 KiB.
pub(super) const SNAPSHOT_LIMIT: usize = 1 << 20;

/// The most octets of all parts together: some million revocations, and a policy.
pub(super) const PARTS_LIMIT: u64 = 128 << 20;

/// A part of a snapshot, by reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartRef {
    pub(super) sha256: [u8; 32],
    pub(super) size: u64,
}

/// The payload of a snapshot, its words turned into values.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) trust_domain: String,
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) refresh_hint: Duration,
    pub(super) roots: Vec<General>,
    pub(super) issuers: PartRef,
    pub(super) revoked: Vec<PartRef>,
    pub(super) policy: PartRef,
    pub(super) token_keys: PartRef,
}

#[derive(Deserialize)]
struct Payload {
    trust_domain: String,
    epoch: u64,
    sequence: u64,
    issued: String,
    expires: String,
    refresh_hint: u64,
    roots: Vec<General>,
    issuers: WrittenPart,
    revoked: Vec<WrittenPart>,
    policy: WrittenPart,
    token_keys: WrittenPart,
}

#[derive(Deserialize)]
struct WrittenPart {
    sha256: String,
    size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    x5c: Vec<String>,
}

impl PartRef {
    /// SHA-256 of its octets.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// How many octets it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether these are its octets.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&self, octets: &[u8]) -> Result<(), SnapshotFault> {
        let found: [u8; 32] = Sha256::digest(octets).into();
        let size = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        if found == self.sha256 && size == self.size {
            return Ok(());
        }
        let words = |sha256: &[u8], size| format!("{size} octets with the hash {}", hex::encode(sha256));
        let (found, expected) = (words(&found, size), words(&self.sha256, self.size));
        Err(SnapshotFault::PartChanged { found, expected })
    }

    fn read(written: &WrittenPart) -> Result<Self, SnapshotFault> {
        let what = || format!("`{}` is no SHA-256 in lower-case hex", written.sha256);
        let malformed = || SnapshotFault::Malformed { what: what() };
        let octets = hex::decode(&written.sha256).map_err(|_| malformed())?;
        let sha256: [u8; 32] = octets.try_into().map_err(|_| malformed())?;
        // One spelling only: it is a name, too.
        if hex::encode(&sha256) != written.sha256 {
            return Err(malformed());
        }
        Ok(Self { sha256, size: written.size })
    }
}

impl Manifest {
    pub(super) fn read(payload: &[u8]) -> Result<Self, SnapshotFault> {
        let malformed = |what: String| SnapshotFault::Malformed { what };
        let read: Payload = serde_json::from_slice(payload).map_err(|fault| malformed(fault.to_string()))?;
        let time = |text: &str| text.parse().map_err(|fault| malformed(format!("a time: {fault}")));
        let manifest = Self {
            epoch: read.epoch,
            sequence: read.sequence,
            issued: time(&read.issued)?,
            expires: time(&read.expires)?,
            refresh_hint: Duration::from_secs(read.refresh_hint),
            roots: read.roots,
            issuers: PartRef::read(&read.issuers)?,
            revoked: read.revoked.iter().map(PartRef::read).collect::<Result<_, _>>()?,
            policy: PartRef::read(&read.policy)?,
            token_keys: PartRef::read(&read.token_keys)?,
            trust_domain: read.trust_domain,
        };
        let found = manifest.parts().fold(0_u64, |sum, part| sum.saturating_add(part.size));
        if found > PARTS_LIMIT {
            let what = "all parts of the trust snapshot together";
            return Err(SnapshotFault::TooLarge { what, found, limit: PARTS_LIMIT });
        }
        if manifest.expires < manifest.issued {
            return Err(SnapshotFault::Backwards);
        }
        Ok(manifest)
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &PartRef> {
        [&self.issuers, &self.policy, &self.token_keys].into_iter().chain(&self.revoked)
    }
}

/// The compact JWS of a snapshot, and the certificate that came with it.
pub(super) fn open(octets: &[u8]) -> Result<(Compact<'_>, Vec<u8>), SnapshotFault> {
    if octets.len() > SNAPSHOT_LIMIT {
        let size = |octets: usize| u64::try_from(octets).unwrap_or(u64::MAX);
        let (found, limit) = (size(octets.len()), size(SNAPSHOT_LIMIT));
        return Err(SnapshotFault::TooLarge { what: "the trust snapshot", found, limit });
    }
    let jws = Compact::read(octets).map_err(|what| SnapshotFault::Malformed { what })?;
    let refused = |what: String| SnapshotFault::Header { what };
    let header: Header = serde_json::from_slice(&jws.header).map_err(|fault| refused(fault.to_string()))?;
    if header.alg != "ES256" {
        return Err(refused(format!("`alg` is {}, expected ES256", header.alg)));
    }
    if header.typ != KIND {
        return Err(refused(format!("`typ` is {}, expected {KIND}", header.typ)));
    }
    let [signer] = header.x5c.as_slice() else {
        return Err(refused(format!("`x5c` has {} certificates, expected 1", header.x5c.len())));
    };
    let signer = STANDARD.decode(signer).map_err(|fault| refused(format!("`x5c` is no base64: {fault}")))?;
    Ok((jws, signer))
}

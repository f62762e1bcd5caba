//! A snapshot in one file, as `countersign bundle export` writes it: anything that can carry a file can carry trust.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_identity::hex;
use serde::Deserialize;

use super::Parts;
use super::fault::SnapshotFault;
use super::manifest::{PARTS_LIMIT, SNAPSHOT_LIMIT};

/// The form this reader knows.
const FORM: u64 = 1;

/// A snapshot and its parts, as read and not yet judged.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    jws: Vec<u8>,
    parts: Parts,
}

#[derive(Deserialize)]
struct Written {
    countersign_trust: u64,
    snapshot: String,
    parts: BTreeMap<String, String>,
}

impl SnapshotFile {
    /// Reads the file form. Whether anything in it is to be believed, [`Trusted::judge`](super::Trusted::judge) says.
    ///
    /// # Errors
    /// When it is no such file, or larger than any honest one.
    pub fn read(octets: &[u8]) -> Result<Self, SnapshotFault> {
        let found = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        // Base64 writes three octets as four, and every part has its name.
        let limit = PARTS_LIMIT / 3 * 4 + u64::try_from(2 * SNAPSHOT_LIMIT).unwrap_or(u64::MAX);
        if found > limit {
            return Err(SnapshotFault::TooLarge { what: "the file of the trust snapshot", found, limit });
        }
        let malformed = |what: String| SnapshotFault::Malformed { what };
        let written: Written =
            serde_json::from_slice(octets).map_err(|fault| malformed(fault.to_string()))?;
        if written.countersign_trust != FORM {
            let form = written.countersign_trust;
            return Err(malformed(format!("its form is {form}, expected {FORM}: is this program older?")));
        }
        let mut parts = Parts::new();
        for (name, octets) in &written.parts {
            let sha256 = hex::decode(name).ok().and_then(|octets| octets.try_into().ok());
            let sha256 = sha256.ok_or_else(|| malformed(format!("a part is named `{name}`")))?;
            let octets = STANDARD.decode(octets).map_err(|fault| malformed(format!("a part: {fault}")))?;
            parts.insert(sha256, octets);
        }
        Ok(Self { jws: written.snapshot.into_bytes(), parts })
    }

    /// The compact JWS.
    #[must_use]
    pub fn jws(&self) -> &[u8] {
        &self.jws
    }

    /// The parts, by the names the file gives them.
    #[must_use]
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }
}

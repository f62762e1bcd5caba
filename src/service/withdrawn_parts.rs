//! Revoked API keys and tokens as parts of the trust snapshot, written anew only when there are others.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_api::trust::RevokedPart;
use countersign_store::Withdrawn;

use super::parts::Part;

/// Ids in one part: some 100 kB, like a chunk of serials.
const MOST: usize = 4096;

/// The parts, as of a version of the list.
#[derive(Debug, Default)]
pub(super) struct WithdrawnParts {
    version: Option<u64>,
    parts: Vec<Arc<Part>>,
}

impl WithdrawnParts {
    /// Whether the list has changed since.
    pub(super) fn are_of(&self, version: u64) -> bool {
        self.version == Some(version)
    }

    /// Takes up another list.
    pub(super) fn put(&mut self, version: u64, list: &Withdrawn) {
        let keys = list.api_keys.chunks(MOST).map(|ids| RevokedPart {
            api_keys: ids.iter().map(ToString::to_string).collect(),
            ..RevokedPart::default()
        });
        let tokens = list.tokens.chunks(MOST).map(|ids| RevokedPart {
            token_ids: ids.iter().map(|id| URL_SAFE_NO_PAD.encode(id)).collect(),
            ..RevokedPart::default()
        });
        // Lists of texts always have a JSON form.
        let octets = |part: RevokedPart| serde_json::to_vec(&part).unwrap_or_default();
        self.parts = keys.chain(tokens).map(|part| Part::new(octets(part), "application/json")).collect();
        self.version = Some(version);
    }

    /// The parts.
    pub(super) fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }
}

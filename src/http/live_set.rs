//! The book as the front door's live set: our own certificates are known by what was recorded, not by path.

use std::sync::Arc;

use countersign_identity::{KeyHash, Serial};
use countersign_verifier::LiveSet;

use crate::service::Ca;

/// The certificates this CA signed.
#[derive(Debug)]
pub(super) struct SignedHere(pub(super) Arc<Ca>);

impl LiveSet for SignedHere {
    fn signed_here(&self, serial: Serial, tbs_sha256: &[u8; 32]) -> Option<KeyHash> {
        self.0.issuer_of(serial, tbs_sha256)
    }
}

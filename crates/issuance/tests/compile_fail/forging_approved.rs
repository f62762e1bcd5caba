//! Approvals come from `approve` alone, and cannot be changed.

use countersign_identity::SpiffeId;
use countersign_issuance::{Approved, ProvenKey};

fn forged(key: ProvenKey, id: SpiffeId) -> Approved {
    Approved { key, id }
}

fn changed(approved: &mut Approved, id: SpiffeId) {
    approved.id = id;
}

fn main() {}

//! A proven key is not approved: it has nothing to prepare.

use countersign_identity::{Lineage, Serial};
use countersign_issuance::{House, ProvenKey};

fn unapproved(key: ProvenKey, serial: Serial, lineage: Lineage, house: &House<'_>) {
    let _ = key.prepare(serial, lineage, house);
}

fn main() {}

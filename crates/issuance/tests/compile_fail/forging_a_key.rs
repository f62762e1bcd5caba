//! A key is proven by a request that it signed, and by nothing else.

use countersign_issuance::{KeyKind, ProvenKey};

fn forged(spki: Vec<u8>) -> ProvenKey {
    ProvenKey { kind: KeyKind::P256, spki }
}

fn main() {}

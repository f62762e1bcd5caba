//! A key is proven by a request that it signed, and by nothing else.

use countersign_issuance::ProvenKey;

fn exchanged(mut key: ProvenKey, spki: Vec<u8>) -> ProvenKey {
    key.spki = spki;
    key
}

fn main() {}

//! The keyed hash of API keys: whoever steals the book alone can neither use a key nor plant one.

use countersign_identity::KeyHash;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// HMAC-SHA-256 (RFC 2104) under a secret of the CA.
///
/// No slow hash: a secret of 256 random bits is not guessed, at whatever speed.
#[derive(Clone)]
pub struct KeyHasher {
    under: KeyHash,
    mac: Hmac<Sha256>,
}

/// Shows the kind only (invariant 8).
impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHasher(HMAC-SHA-256)")
    }
}

impl KeyHasher {
    /// The hash under a private key of the CA's own that is used for nothing else (PKCS#8 octets, as kept in a
    /// [`super::KeyFile`]).
    #[must_use]
    pub fn new(pkcs8: &[u8]) -> Self {
        let secret = Sha256::new().chain_update(b"countersign api key hash 1").chain_update(pkcs8).finalize();
        let name = Sha256::new().chain_update(b"name of").chain_update(secret).finalize();
        // HMAC takes a key of any length.
        let mac = Hmac::new_from_slice(&secret).unwrap_or_else(|_| Hmac::new(&Default::default()));
        Self { under: KeyHash::from_bytes(name.into()), mac }
    }

    /// Which secret this is, without saying it: stands beside each hash.
    #[must_use]
    pub fn name(&self) -> KeyHash {
        self.under
    }

    /// The hash of the key with this id and secret.
    #[must_use]
    pub fn hash(&self, id: &[u8; 8], secret: &[u8; 32]) -> [u8; 32] {
        self.over(id, secret).finalize().into_bytes().into()
    }

    /// Whether `hash` is that of the key with this id and secret; compared in constant time.
    #[must_use]
    pub fn is(&self, hash: &[u8; 32], id: &[u8; 8], secret: &[u8; 32]) -> bool {
        self.over(id, secret).verify_slice(hash).is_ok()
    }

    fn over(&self, id: &[u8; 8], secret: &[u8; 32]) -> Hmac<Sha256> {
        self.mac.clone().chain_update(id).chain_update(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_one_id_one_secret_and_one_key() {
        let (one, other) = (KeyHasher::new(b"one"), KeyHasher::new(b"other"));
        let hash = one.hash(&[1; 8], &[2; 32]);
        assert!(one.is(&hash, &[1; 8], &[2; 32]));
        assert!(!one.is(&hash, &[2; 8], &[2; 32]) && !one.is(&hash, &[1; 8], &[3; 32]));
        assert!(!other.is(&hash, &[1; 8], &[2; 32]));
        assert_ne!(one.name(), other.name());
    }
}

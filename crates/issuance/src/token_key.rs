//! Public keys that an identity may sign client assertions with, beside those of its certificates (RFC 7523 §2.2)

use std::fmt;

use countersign_identity::{KeyHash, Lineage, Serial, Timestamp};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::key::{KeyError, KeyKind, PublicKey};

/// Keys that one identity has at most: each client of it may change over to a next one.
pub const MAX_TOKEN_KEYS: usize = 16;
/// The longest name of a key, in octets.
const LONGEST_ID: usize = 64;

/// One key that an operator registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// What assertions call it (`kid`).
    pub id: String,
    /// The key, a SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// The moment from which it proves nothing any more.
    pub until: Timestamp,
    /// Who holds the private key.
    pub owner: Option<String>,
    /// The key of the CA's own under which API keys were hashed when this one was registered: another after a restore,
    /// which must not bring back what was removed since.
    pub under: KeyHash,
}

/// Why a key is not registered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenKeyError {
    /// A name that assertions could not use, or that names something else.
    #[error(
        "the key id {found:?}: expected 1 to {LONGEST_ID} of A-Z a-z 0-9 - _ . that read as no serial or lineage"
    )]
    Id {
        /// The name.
        found: String,
    },
    /// No key, or none of a kind that signs.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key of another kind than the one algorithm of assertions.
    #[error("found a key of the kind {found}, expected p256: assertions are signed ES256")]
    Kind {
        /// Its kind.
        found: KeyKind,
    },
    /// The same name or key twice.
    #[error("the key {id:?} is there twice, by its id or by itself")]
    Twice {
        /// The name of the second.
        id: String,
    },
    /// More keys than any client needs.
    #[error("{found} keys of one identity, expected at most {MAX_TOKEN_KEYS}")]
    TooMany {
        /// How many.
        found: usize,
    },
}

impl TokenKey {
    /// The hash that names the key in orders and events.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::from_bytes(Sha256::digest(&self.spki).into())
    }

    fn check(&self) -> Result<(), TokenKeyError> {
        let kind = PublicKey::read(&self.spki)?.kind;
        if kind != KeyKind::P256 {
            return Err(TokenKeyError::Kind { found: kind });
        }
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        let is_name = (1..=LONGEST_ID).contains(&self.id.len()) && self.id.bytes().all(plain);
        // `kid` also names certificates, by serial or lineage.
        if is_name && self.id.parse::<Serial>().is_err() && self.id.parse::<Lineage>().is_err() {
            return Ok(());
        }
        Err(TokenKeyError::Id { found: self.id.clone() })
    }
}

/// What a person compares: not `under`, which no one states.
impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} until {}", self.id, self.key_hash(), self.until)?;
        match &self.owner {
            Some(owner) => write!(f, ", {owner})"),
            None => f.write_str(")"),
        }
    }
}

/// The rules for all keys of one identity.
pub(crate) fn check(keys: &[TokenKey]) -> Result<(), TokenKeyError> {
    if keys.len() > MAX_TOKEN_KEYS {
        return Err(TokenKeyError::TooMany { found: keys.len() });
    }
    for (n, key) in keys.iter().enumerate() {
        key.check()?;
        if keys.iter().take(n).any(|before| before.id == key.id || before.spki == key.spki) {
            return Err(TokenKeyError::Twice { id: key.id.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData as _};

    use super::*;

    fn key(id: &str) -> TokenKey {
        let spki = KeyPair::generate().unwrap().subject_public_key_info();
        let until = Timestamp::from_unix(2_000);
        TokenKey { id: id.to_owned(), spki, until, owner: None, under: KeyHash::from_bytes([0; 32]) }
    }

    #[test]
    fn a_name_is_no_other_name_of_a_key() {
        for good in ["deploy-2026", "a.b_c", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"] {
            assert_eq!(check(&[key(good)]), Ok(()), "{good}");
        }
        let lineage = Lineage::from_random([7; 16]).to_string();
        for bad in ["", "a b", "ü", "00ff", "abc", &lineage, &"x".repeat(65)] {
            assert!(matches!(check(&[key(bad)]), Err(TokenKeyError::Id { .. })), "{bad}");
        }
    }

    #[test]
    fn only_p256_keys_in_their_one_encoding_are_registered() {
        let of = |spki: Vec<u8>| TokenKey { spki, ..key("one") };
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().subject_public_key_info();
        assert_eq!(check(&[of(other)]), Err(TokenKeyError::Kind { found: KeyKind::Ed25519 }));
        let mut cut = key("one").spki;
        cut.pop();
        for spki in [cut, [key("one").spki, vec![0]].concat(), Vec::new()] {
            assert!(matches!(check(&[of(spki)]), Err(TokenKeyError::Key(_))));
        }
    }

    #[test]
    fn names_and_keys_of_one_identity_differ_and_are_few() {
        let (one, two) = (key("one"), key("two"));
        assert_eq!(check(&[one.clone(), two.clone()]), Ok(()));
        let again = TokenKey { spki: one.spki.clone(), ..two };
        assert_eq!(check(&[one, again]), Err(TokenKeyError::Twice { id: "two".to_owned() }));
        assert_eq!(check(&[key("one"), key("one")]), Err(TokenKeyError::Twice { id: "one".to_owned() }));
        let many: Vec<_> = (0..=MAX_TOKEN_KEYS).map(|n| key(&format!("key-{n}"))).collect();
        assert_eq!(check(&many), Err(TokenKeyError::TooMany { found: MAX_TOKEN_KEYS + 1 }));
    }
}

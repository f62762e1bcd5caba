//! The API key: a long secret for callers that can hold nothing better, in one line.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What every API key begins with, so that scanners of source code know one.
pub const API_KEY_PREFIX: &str = "csk1_";
/// Octets of an API key as text: prefix, 16 hex digits, `_`, 43 characters, `.`, 8 hex digits.
const LENGTH: usize = 5 + 16 + 1 + 43 + 1 + 8;

/// `csk1_` + 16 hex digits of its id + `_` + base64url(secret) + `.` + CRC-32 of all before, 8 hex digits.
///
/// Two are compared through the hash that the CA keeps, never as texts.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ApiKey {
    id: [u8; 8],
    secret: [u8; 32],
}

/// Why a text is not an API key. Never repeats the text: it may be one but for a character.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApiKeyError {
    /// Another kind of string altogether.
    #[error("an API key starts with \"csk1_\"; copy the whole line that `countersign keys create` printed")]
    Prefix,
    /// Cut short, or characters changed.
    #[error("the API key is damaged: copy the whole line that `countersign keys create` printed")]
    Damaged,
}

impl ApiKey {
    /// The key with this id and secret, both random.
    #[must_use]
    pub fn from_random(id: [u8; 8], secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// Its id, which is no secret.
    #[must_use]
    pub fn id(&self) -> &[u8; 8] {
        &self.id
    }

    /// Its secret.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The one line, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> zeroize::Zeroizing<String> {
        let mut text = zeroize::Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(API_KEY_PREFIX);
        // Writing to a String cannot fail.
        let _ = fmt::Write::write_fmt(&mut *text, format_args!("{:016x}_", u64::from_be_bytes(self.id)));
        URL_SAFE_NO_PAD.encode_string(self.secret, &mut text);
        let sum = crc32fast::hash(text.as_bytes());
        let _ = fmt::Write::write_fmt(&mut *text, format_args!(".{sum:08x}"));
        text
    }
}

/// Shows the kind only (invariant 8).
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<Self, ApiKeyError> {
        let rest = text.strip_prefix(API_KEY_PREFIX).ok_or(ApiKeyError::Prefix)?;
        if text.len() != LENGTH || !text.is_ascii() {
            return Err(ApiKeyError::Damaged);
        }
        let parts = || {
            let (head, sum) = text.rsplit_once('.')?;
            let (id, secret) = rest.strip_suffix(sum)?.strip_suffix('.')?.split_at_checked(16)?;
            let lower =
                |digits: &str| digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            let whole = lower(id) && lower(sum);
            let right = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(head.as_bytes());
            let id = u64::from_str_radix(id, 16).ok()?.to_be_bytes();
            let mut octets = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.decode(secret.strip_prefix('_')?).ok()?);
            let key = Self { id, secret: octets.as_slice().try_into().ok()? };
            octets.zeroize();
            (whole && right).then_some(key)
        };
        parts().ok_or(ApiKeyError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_has_a_form_that_scanners_know() {
        let text = ApiKey::from_random([0xab; 8], [7; 32]).reveal();
        assert_eq!(
            text.as_str(),
            "csk1_abababababababab_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc.67808ede"
        );
        assert_eq!(text.len(), LENGTH);
    }

    #[test]
    fn one_character_changed_is_noticed() {
        let text = ApiKey::from_random([1; 8], [2; 32]).reveal();
        for at in 0..text.len() {
            for other in [b'A', b'b', b'0', b'_', b'.'] {
                let mut octets = text.as_bytes().to_vec();
                if octets[at] == other {
                    continue;
                }
                octets[at] = other;
                let typo = String::from_utf8(octets).unwrap();
                assert!(typo.parse::<ApiKey>().is_err(), "{other} at {at} passed");
            }
        }
    }

    #[test]
    fn debug_and_errors_never_show_the_secret() {
        // Invariant 8.
        assert_eq!(format!("{:?}", ApiKey::from_random([1; 8], [2; 32])), "ApiKey");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<ApiKey>();
            let _ = format!("{API_KEY_PREFIX}{text}").parse::<ApiKey>();
        }

        #[test]
        fn what_is_written_is_read_again(id: [u8; 8], secret: [u8; 32]) {
            let key = ApiKey::from_random(id, secret);
            let read: ApiKey = key.reveal().parse().unwrap();
            prop_assert_eq!((read.id(), read.secret()), (&id, &secret));
        }
    }
}

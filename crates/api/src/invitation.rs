//! The invitation string: everything a machine needs for its first contact, in one line (DESIGN §6).

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "csinv1_";
/// Longest text looked at; an honest one stays far below.
const MAX_LEN: usize = 4096;

/// `csinv1_` + base64url(JSON) + `.` + CRC-32 of all before, 8 hex digits.
#[derive(Clone, Eq, PartialEq)]
pub struct Invitation {
    /// Where the CA listens, `https://HOST:PORT`.
    pub url: String,
    /// The trust domain the CA serves.
    pub trust_domain: String,
    /// SHA-256 of the root certificate's DER: what the machine pins.
    pub root_sha256: [u8; 32],
    /// The secret that lets one key use the registration.
    pub secret: [u8; 32],
}

/// Why a text is not an invitation. Never repeats the text: it may hold a secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvitationError {
    /// Another kind of string altogether.
    #[error("an invitation starts with \"csinv1_\"; copy the whole line that `countersign invite` printed")]
    Prefix,
    /// Cut short, or characters changed.
    #[error(
        "the invitation is damaged: its checksum does not match; copy the whole line that `countersign invite` printed"
    )]
    Checksum,
    /// The checksum holds but the content is not ours.
    #[error("the invitation's content is not understood ({0}); is this program older than the CA?")]
    Content(String),
}

#[derive(Deserialize, Serialize)]
struct Body {
    u: String,
    td: String,
    r: String,
    s: String,
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = Body {
            u: self.url.clone(),
            td: self.trust_domain.clone(),
            r: URL_SAFE_NO_PAD.encode(self.root_sha256),
            s: URL_SAFE_NO_PAD.encode(self.secret),
        };
        let json = serde_json::to_vec(&body).map_err(|_| fmt::Error)?;
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json));
        write!(f, "{text}.{:08x}", crc32fast::hash(text.as_bytes()))
    }
}

/// Shows where it leads, never the secret (invariant 8).
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("url", &self.url).finish_non_exhaustive()
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let text = text.trim();
        if !text.starts_with(PREFIX) {
            return Err(InvitationError::Prefix);
        }
        if text.len() > MAX_LEN {
            return Err(InvitationError::Checksum);
        }
        let (head, sum) = text.rsplit_once('.').ok_or(InvitationError::Checksum)?;
        if sum != format!("{:08x}", crc32fast::hash(head.as_bytes())) {
            return Err(InvitationError::Checksum);
        }
        let encoded = head.strip_prefix(PREFIX).ok_or(InvitationError::Prefix)?;
        let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|e| InvitationError::Content(e.to_string()))?;
        // serde_json's message names lines and columns, never values of unknown strings we did not ask for.
        let body: Body = serde_json::from_slice(&json)
            .map_err(|_| InvitationError::Content("not the expected fields".into()))?;
        Ok(Self {
            url: body.u,
            trust_domain: body.td,
            root_sha256: octets(&body.r)?,
            secret: octets(&body.s)?,
        })
    }
}

fn octets(text: &str) -> Result<[u8; 32], InvitationError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|v| v.try_into().ok())
        .ok_or_else(|| InvitationError::Content("a field is not 32 octets".into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Invitation {
        Invitation {
            url: "https://127.0.0.1:8443".into(),
            trust_domain: "prod.example".into(),
            root_sha256: [1; 32],
            secret: [2; 32],
        }
    }

    #[test]
    fn a_mistyped_character_is_noticed() {
        let text = sample().to_string();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let typo = String::from_utf8(bytes).unwrap();
            assert!(typo.parse::<Invitation>().is_err(), "typo at {at} passed");
        }
    }

    #[test]
    fn surrounding_blanks_do_not_matter() {
        assert_eq!(format!("  {}\n", sample()).parse::<Invitation>().unwrap(), sample());
    }

    #[test]
    fn debug_and_errors_never_show_the_secret() {
        // Invariant 8.
        let secret = URL_SAFE_NO_PAD.encode([2; 32]);
        assert!(!format!("{:?}", sample()).contains(&secret));
        let cut = &sample().to_string()[..80];
        assert!(!cut.parse::<Invitation>().unwrap_err().to_string().contains(cut));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Invitation>();
            let _ = format!("{PREFIX}{text}").parse::<Invitation>();
        }

        #[test]
        fn what_is_written_is_read_again(url in "https://[a-z]{1,20}:[0-9]{1,4}", r: [u8; 32], s: [u8; 32]) {
            let one = Invitation { url, trust_domain: "td".into(), root_sha256: r, secret: s };
            prop_assert_eq!(one.to_string().parse::<Invitation>().unwrap(), one);
        }
    }
}

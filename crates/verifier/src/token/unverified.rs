//! A token as it came: taken apart, held to its form, and not believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::members::{Members, Value};
use super::refusal::TokenRefusal;
use crate::jws::Compact;

/// The most octets read of a token. An honest one has some 700.
pub(super) const LIMIT: usize = 8 * 1024;

/// Members of a header that bring a key, say where to find one, or demand to be understood (RFC 7515 §4.1). None is ever
/// followed.
const FORBIDDEN: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip"];

/// Whether a text could be a token that says nothing of itself (RFC 6750 §2.1), and has not the look of a JWS or JWE, however broken:
/// several parts, the first of which begins an object in base64.
pub(super) fn is_opaque(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let known = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~+/".contains(&octet);
    let has_header = digits.split_once('.').is_some_and(|(head, _)| begins_an_object(head));
    (1..=LIMIT).contains(&text.len()) && !digits.is_empty() && digits.bytes().all(known) && !has_header
}

fn begins_an_object(base64: &str) -> bool {
    let either_alphabet = |digit| match digit {
        '+' => '-',
        '/' => '_',
        other => other,
    };
    let mut digits: String = base64.chars().take(64).map(either_alphabet).collect();
    while !digits.len().is_multiple_of(4) {
        digits.push('A');
    }
    let Ok(octets) = URL_SAFE_NO_PAD.decode(digits) else { return false };
    let mut visible = octets.iter().filter(|octet| !octet.is_ascii_whitespace());
    match visible.next() {
        Some(b'{') => visible.next().is_none_or(|next| matches!(next, b'"' | b'}')),
        Some(_) => false,
        None => true,
    }
}

/// A compact JWS with JSON inside.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    pub(super) header: Members,
    pub(super) claims: Members,
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    pub(super) fn read(token: &'a str) -> Result<Self, TokenRefusal> {
        if token.len() > LIMIT {
            return Err(TokenRefusal::TooLong { found: token.len(), limit: LIMIT });
        }
        let malformed = |what: String| TokenRefusal::Malformed { what };
        let Compact { header, payload, signed, signature } =
            Compact::read(token.as_bytes()).map_err(malformed)?;
        let header = Members::read(&header).map_err(|what| malformed(format!("the header: {what}")))?;
        let claims = Members::read(&payload).map_err(|what| malformed(format!("the claims: {what}")))?;
        Ok(Self { header, claims, signed, signature })
    }

    /// The issuer it names.
    pub(super) fn issuer(&self) -> &str {
        self.claims.text("iss").unwrap_or_default()
    }

    /// The name of its key, if it is an access token by this algorithm and its header holds nothing that it must not; `exactly` what
    /// our own have, or, of others, anything harmless.
    pub(super) fn key_name(&self, algorithm: &'static str, exactly: bool) -> Result<&str, TokenRefusal> {
        let found = self.header.text("alg").unwrap_or_default();
        if found != algorithm {
            return Err(TokenRefusal::Algorithm { found: found.to_owned(), expected: algorithm });
        }
        let kind = self.header.text("typ").unwrap_or_default();
        // RFC 9068 §4; RFC 7515 §4.1.9 lets media types be compared without their case.
        let elsewhere = ["at+jwt", "application/at+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known));
        if kind != "at+jwt" && (exactly || !elsewhere) {
            return Err(TokenRefusal::Kind { found: kind.to_owned() });
        }
        let odd = |name: &&str| match exactly {
            true => !matches!(*name, "alg" | "typ" | "kid"),
            false => FORBIDDEN.contains(name),
        };
        if let Some(member) = self.header.names().find(odd) {
            return Err(TokenRefusal::Header { member: member.to_owned() });
        }
        match self.header.get("kid") {
            Some(Value::Text(kid)) => Ok(kid),
            _ => Err(TokenRefusal::UnknownKey { kid: String::new() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_look_of_a_jws_is_not_opaque_however_broken() {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
        let white = URL_SAFE_NO_PAD.encode(format!("{}{{ \"alg\":1}}", " ".repeat(200)));
        for text in [
            format!("{head}.e30.c2ln"),
            format!("{head}.e30.c2ln="),
            format!("{head}.e30"),
            format!("{head}.a.b.c.d"),
            format!("{}.e30.c2ln", &head[..head.len() - 1]),
            format!("{white}.e30.c2ln"),
            "e30.e30.c2ln".to_owned(),
            ".e30.c2ln".to_owned(),
            "not one word".to_owned(),
            "ü".to_owned(),
            "==".to_owned(),
            String::new(),
            "x".repeat(LIMIT + 1),
        ] {
            assert!(!is_opaque(&text), "{text}");
        }
    }

    #[test]
    fn what_others_call_a_token_is_opaque() {
        for text in [
            "mF_9.B5f-4.1JqM",
            "2YotnFZFEjr1zCsicMWpAA",
            "ya29.a0AfH6SMB+/x~==",
            "ory_at_uK3.xYz",
            // By accident the first two octets are those of an object.
            "eyJhbGciOiJFUzI1NiJ9",
        ] {
            assert!(is_opaque(text), "{text}");
        }
    }
}

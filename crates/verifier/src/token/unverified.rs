//! A token as it came: taken apart, held to its form, and not believed.

use super::members::{Members, Value};
use super::refusal::TokenRefusal;
use crate::jws::Compact;

/// The most octets read of a token. An honest one has some 700.
pub(super) const LIMIT: usize = 8 * 1024;

/// Members of a header that bring a key, say where to find one, or demand to be understood (RFC 7515 §4.1). None is ever
/// followed.
const FORBIDDEN: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip"];

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

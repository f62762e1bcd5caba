//! The keys of an authorization server: a JWK Set (RFC 7517 §5), of which only what can be used is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::alg_id;
use serde::Deserialize;

use crate::jws::{integer, to_der};

/// Larger than any honest set.
const LIMIT: usize = 64 * 1024;

/// More keys than any honest set has.
const MOST: usize = 64;

/// How tokens are signed (RFC 7518 §3.1, RFC 8037 §3.1). Which one an issuer uses is said here, never in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignedBy {
    /// ECDSA on P-256 with SHA-256: the certificate authority's own.
    Es256,
    /// RSA (PKCS #1 v1.5) with SHA-256: the usual one elsewhere.
    Rs256,
    /// Ed25519.
    EdDsa,
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenKeys(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    kid: String,
    signed_by: SignedBy,
    /// As a certificate would have it, within its `BIT STRING`.
    octets: Vec<u8>,
}

/// Why a text is no set of keys.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a JWK Set: {what}")]
pub struct JwkSetError {
    what: String,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    /// A private key, which somebody published.
    d: Option<serde::de::IgnoredAny>,
}

impl SignedBy {
    /// The name in `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl TokenKeys {
    /// Reads a set. Keys of another kind, of another use, without a name, or private are passed over: nobody can rely on them.
    pub(crate) fn read(octets: &[u8]) -> Result<Self, JwkSetError> {
        let refused = |what: String| JwkSetError { what };
        if octets.len() > LIMIT {
            return Err(refused(format!("it has {} octets, at most {LIMIT} are read", octets.len())));
        }
        let set: Set = serde_json::from_slice(octets).map_err(|fault| refused(fault.to_string()))?;
        if set.keys.len() > MOST {
            return Err(refused(format!("it has {} keys, at most {MOST} are read", set.keys.len())));
        }
        Ok(Self(set.keys.into_iter().filter_map(Key::read).collect()))
    }

    /// Whether there is a key of this name for this algorithm.
    pub(crate) fn knows(&self, signed_by: SignedBy, kid: &str) -> bool {
        self.of(signed_by, kid).next().is_some()
    }

    /// Whether one of the keys of this name made this signature.
    pub(crate) fn signed(
        &self,
        (signed_by, kid): (SignedBy, &str),
        message: &[u8],
        signature: &[u8],
        provider: &CryptoProvider,
    ) -> bool {
        self.of(signed_by, kid).any(|key| key.signed(message, signature, provider))
    }

    fn of<'a>(&'a self, signed_by: SignedBy, kid: &'a str) -> impl Iterator<Item = &'a Key> {
        self.0.iter().filter(move |key| key.signed_by == signed_by && key.kid == kid)
    }
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        if jwk.d.is_some() || jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let (signed_by, octets) = match (jwk.kty.as_deref()?, jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                (SignedBy::Es256, [vec![4], coordinate(&jwk.x?)?, coordinate(&jwk.y?)?].concat())
            }
            ("OKP", Some("Ed25519")) => (SignedBy::EdDsa, coordinate(&jwk.x?)?),
            ("RSA", None) => (SignedBy::Rs256, rsa(&decode(&jwk.n?)?, &decode(&jwk.e?)?)?),
            _ => return None,
        };
        let fits = jwk.alg.as_deref().is_none_or(|alg| alg == signed_by.as_str());
        fits.then_some(Self { kid: jwk.kid?, signed_by, octets })
    }

    fn signed(&self, message: &[u8], signature: &[u8], provider: &CryptoProvider) -> bool {
        let (key_kind, signature_kind) = match self.signed_by {
            SignedBy::Es256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
            SignedBy::Rs256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256),
            SignedBy::EdDsa => (alg_id::ED25519, alg_id::ED25519),
        };
        let der;
        let signature = match self.signed_by {
            SignedBy::Es256 => match to_der(signature) {
                Some(found) => {
                    der = found;
                    der.as_slice()
                }
                None => return false,
            },
            SignedBy::Rs256 | SignedBy::EdDsa => signature,
        };
        let known = provider.signature_verification_algorithms.all.iter();
        known
            .filter(|one| one.public_key_alg_id() == key_kind && one.signature_alg_id() == signature_kind)
            .any(|one| one.verify_signature(&self.octets, message, signature).is_ok())
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// 32 octets, as RFC 7518 §6.2.1.2 wants them in full.
fn coordinate(text: &str) -> Option<Vec<u8>> {
    decode(text).filter(|octets| octets.len() == 32)
}

/// `RSAPublicKey` (RFC 8017 A.1.1) of a modulus of 2048 to 8192 bits.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    if !(256..=1024).contains(&modulus.len()) {
        return None;
    }
    let digits = modulus.iter().copied().skip_while(|octet| *octet == 0).collect::<Vec<_>>();
    let sign: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
    let modulus = wrapped(0x02, &[sign, digits.as_slice()].concat())?;
    wrapped(0x30, &[modulus, integer(exponent)?].concat())
}

/// A DER value of up to 64 KiB.
fn wrapped(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    Some([head, content].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    #[test]
    fn the_example_of_rfc_7515_is_verified() {
        // RFC 7515 A.3.
        let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","kid":"a"}}]}}"#);
        let keys = TokenKeys::read(set.as_bytes()).expect("a set");
        let signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature =
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let provider = crate::provider();
        let by = |kid| keys.signed((SignedBy::Es256, kid), signed.as_bytes(), &signature, &provider);
        assert!(by("a"));
        assert!(!by("b"), "another name");
        assert!(!keys.signed((SignedBy::Es256, "a"), b"other", &signature, &provider));
        assert!(!keys.signed((SignedBy::Rs256, "a"), signed.as_bytes(), &signature, &provider));
    }

    #[test]
    fn keys_that_cannot_be_relied_on_are_passed_over() {
        let odd = [
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","kid":"a","use":"enc"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","kid":"a","alg":"ES384"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","kid":"a","d":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{X}","y":"{Y}","kid":"a"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}AA","y":"{Y}","kid":"a"}}"#),
            r#"{"kty":"oct","k":"c2VjcmV0","kid":"a"}"#.to_owned(),
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a"}"#.to_owned(),
            "{}".to_owned(),
        ];
        let set = format!(r#"{{"keys":[{}]}}"#, odd.join(","));
        assert!(TokenKeys::read(set.as_bytes()).expect("a set").0.is_empty());
        for text in ["", "[]", "{}", r#"{"keys":7}"#] {
            assert!(TokenKeys::read(text.as_bytes()).is_err(), "{text}");
        }
        let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 65].join(","));
        assert!(TokenKeys::read(many.as_bytes()).is_err());
        assert!(TokenKeys::read(&vec![b' '; LIMIT + 1]).is_err());
    }
}

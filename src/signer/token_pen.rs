//! The pen of one kind of JWT: a P-256 key under its thumbprint, ready to sign compact JWS (RFC 7515 §7.1).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_identity::KeyHash;
use countersign_issuance::Signer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Algorithms, FileSigner, JwsError, es256, jws};

/// `typ` of an access token (RFC 9068 §2.1).
pub const ACCESS_TOKEN: &str = "at+jwt";
/// `typ` of a JWT-SVID (SPIFFE JWT-SVID §2.3).
const JWT_SVID: &str = "JWT";

/// What a pen signs. One key signs one kind, so that none is ever taken for the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// Access tokens.
    Access,
    /// JWT-SVIDs.
    JwtSvid,
}

impl TokenKind {
    /// `typ` of the token and `use` of its key (RFC 7517 §4.2; SPIFFE JWT-SVID §6.2).
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Access => (ACCESS_TOKEN, "sig"),
            Self::JwtSvid => (JWT_SVID, "jwt-svid"),
        }
    }
}

/// Signs tokens of one kind.
#[derive(Clone)]
pub struct TokenPen {
    signer: Arc<FileSigner>,
    kid: String,
    header: String,
    jwk: Value,
}

/// Shows the kind and the public name, never the key (invariant 8).
impl std::fmt::Debug for TokenPen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenPen").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl TokenPen {
    /// A pen for the key that `signer` holds; `None` if that is no P-256 key.
    #[must_use]
    pub fn new(kind: TokenKind, signer: FileSigner) -> Option<Self> {
        let (typ, usage) = kind.names();
        let (x, y) = coordinates(signer.public_key())?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = thumbprint(&x, &y);
        let header = json!({ "alg": "ES256", "kid": kid, "typ": typ }).to_string();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": usage, "alg": "ES256",
        });
        Some(Self { signer: Arc::new(signer), header: URL_SAFE_NO_PAD.encode(header), kid, jwk })
    }

    /// The key's name: its thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as a JWK (RFC 7517).
    #[must_use]
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// SHA-256 of the public key.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::from_bytes(Sha256::digest(self.signer.public_key()).into())
    }

    /// Whether this key made a signature under its own header.
    #[must_use]
    pub fn verifies(&self, algorithms: Algorithms, header: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some(key) = coordinates(self.signer.public_key()) else { return false };
        header == self.header && es256::verifies(algorithms, key, message, signature)
    }

    /// The token with these claims.
    ///
    /// # Errors
    /// When the pen fails.
    pub async fn sign(&self, claims: &[u8]) -> Result<String, JwsError> {
        jws::sign_under(&self.header, claims, &*self.signer).await
    }
}

/// The thumbprint of a P-256 JWK with these coordinates in base64url (RFC 7638 §3): the members in this order, no blanks.
#[must_use]
pub fn thumbprint(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

/// The coordinates of the uncompressed P-256 point that a SubjectPublicKeyInfo ends with (RFC 5480 §2.2).
#[must_use]
pub fn coordinates(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    /// SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of 66 octets, none unused }, before the point.
    const BEFORE: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let point = spki.strip_prefix(&BEFORE)?.strip_prefix(&[0x04])?;
    (point.len() == 64).then(|| point.split_at(32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::new_key;

    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        // The thumbprint as another implementation computes it for the P-256 key of RFC 7517 appendix A.1.
        let (x, y) =
            ("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        assert_eq!(thumbprint(x, y), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }

    #[tokio::test]
    async fn a_token_carries_the_kind_and_the_key_and_nothing_else() {
        let pen = TokenPen::new(TokenKind::Access, FileSigner::new(new_key().unwrap())).unwrap();
        let token = pen.sign(b"{}").await.unwrap();
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({ "alg": "ES256", "typ": "at+jwt", "kid": pen.kid() }));
        assert_eq!((&pen.jwk()["kid"], &pen.jwk()["use"]), (&json!(pen.kid()), &json!("sig")));
        let svid = TokenPen::new(TokenKind::JwtSvid, FileSigner::new(new_key().unwrap())).unwrap();
        assert_eq!(svid.jwk()["use"], "jwt-svid");
        assert!(!format!("{pen:?}").contains(pen.jwk()["x"].as_str().unwrap()));
    }
}

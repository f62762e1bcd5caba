//! Access tokens, correct until told otherwise, and the keys that sign them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::forged::Forged;
use crate::noon::noon;
use crate::trust::es256;

/// A P-256 key of an authorization server, and its name.
#[derive(Debug)]
pub struct TokenKey {
    kid: String,
    key: KeyPair,
}

/// An access token in the making; each method sets or breaks one thing.
#[derive(Clone, Debug)]
pub struct TokenForge {
    header: Value,
    claims: Value,
}

impl TokenKey {
    /// A new key of this name.
    #[must_use]
    pub fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), key: crate::csr::p256() }
    }

    /// Its public half (RFC 7517).
    ///
    /// # Panics
    /// Never: a P-256 point has 65 octets.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let point = self.key.public_key_raw();
        let coordinate = |range| URL_SAFE_NO_PAD.encode(point.get(range).expect("a point"));
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": coordinate(1..33), "y": coordinate(33..65),
        })
    }

    /// A set of it alone.
    #[must_use]
    pub fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// The octets of its public point.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        self.key.public_key_raw()
    }

    /// The private half, PKCS#8.
    #[must_use]
    pub fn pkcs8(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// Signs `message` as JWS has it (RFC 7518 §3.4), base64url.
    #[must_use]
    pub fn sign(&self, message: &str) -> String {
        es256(&self.key, message)
    }
}

impl TokenForge {
    /// A token of `issuer` for `subject` at `service`, made at noon for a quarter of an hour, bound to nobody yet.
    #[must_use]
    pub fn new(issuer: &str, service: &str, subject: &str) -> Self {
        let claims = json!({
            "iss": issuer, "sub": subject, "client_id": subject, "aud": service, "jti": "t-1",
            "iat": noon().unix(), "exp": noon().unix() + 900, "scope": "",
        });
        Self { header: json!({ "alg": "ES256", "typ": "at+jwt" }), claims }
    }

    /// With this scope.
    #[must_use]
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Bound to a certificate, and to a lineage.
    #[must_use]
    pub fn bound_to(self, holder: &Forged, lineage: &str) -> Self {
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(holder.leaf()));
        self.claim("cnf", json!({ "x5t#S256": thumbprint })).claim("cs_lineage", lineage)
    }

    /// Bound to nobody, in so many words.
    #[must_use]
    pub fn unbound(self) -> Self {
        self.claim("cs_unbound", true)
    }

    /// With anything in the place of a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(members) = self.claims.as_object_mut() {
            members.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Without a claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        if let Some(members) = self.claims.as_object_mut() {
            members.remove(name);
        }
        self
    }

    /// With anything in the place of a member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(members) = self.header.as_object_mut() {
            members.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Signed by this key, and under its name unless another is set.
    #[must_use]
    pub fn sign(self, key: &TokenKey) -> String {
        let named = self.header.get("kid").is_some();
        let named = if named { self } else { self.header("kid", key.kid.as_str()) };
        named.sign_by(|message| key.sign(message))
    }

    /// With the signature that `sign` makes of it, base64url.
    #[must_use]
    pub fn sign_by(self, sign: impl FnOnce(&str) -> String) -> String {
        Self::of(&self.header.to_string(), &self.claims.to_string(), sign)
    }

    /// A token of any header and claims, whatever they are.
    #[must_use]
    pub fn of(header: &str, claims: &str, sign: impl FnOnce(&str) -> String) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = sign(&signed);
        format!("{signed}.{signature}")
    }

    /// The claims as they stand.
    #[must_use]
    pub const fn claims(&self) -> &Value {
        &self.claims
    }
}

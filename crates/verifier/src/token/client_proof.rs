//! How this service proves who it is to another authorization server: by a secret, its certificate, or a signature.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_identity::Timestamp;
use hyper::header::HeaderValue;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::SigningKey;
use serde_json::json;
use zeroize::Zeroizing;

use crate::jws::from_der;
use crate::own::{OwnIdentity, SetupError};
use crate::pem::key_from_pem;
use crate::provider::provider;

/// How long an assertion lives: it is used at once, and known once only.
const ASSERTION: Duration = Duration::from_secs(60);

/// What RFC 7523 §2.2 calls an assertion that is a JWT.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Who this service is at another authorization server, and what proves it.
#[derive(Clone)]
pub struct ClientProof {
    client_id: String,
    by: By,
}

#[derive(Clone)]
enum By {
    /// `client_secret_basic`: the whole header (RFC 6749 §2.3.1).
    Secret(Arc<Zeroizing<String>>),
    /// `tls_client_auth` or `self_signed_tls_client_auth` (RFC 8705 §2).
    Certificate(Arc<OwnIdentity>),
    /// `private_key_jwt` (RFC 7523 §2.2).
    Signature { key: Arc<dyn SigningKey>, kid: String },
}

/// What goes with a question.
pub(super) struct Proven {
    pub(super) authorization: Option<HeaderValue>,
    pub(super) fields: String,
}

impl ClientProof {
    /// By a secret, `client_secret_basic`: whoever learns it can ask in this service's name, so that the other two are better.
    #[must_use]
    pub fn secret(client_id: &str, secret: &str) -> Self {
        let pair = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
        let header = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        Self { client_id: client_id.to_owned(), by: By::Secret(Arc::new(header)) }
    }

    /// By a certificate on the connection (RFC 8705 §2), such as the service's own: it is shown anew after each renewal.
    #[must_use]
    pub fn certificate(client_id: &str, own: Arc<OwnIdentity>) -> Self {
        Self { client_id: client_id.to_owned(), by: By::Certificate(own) }
    }

    /// By a signature with this P-256 key (PEM), `private_key_jwt`; the authorization server knows its public half as `kid`.
    ///
    /// # Errors
    /// When it is no key, or none for ES256.
    pub fn signature(client_id: &str, key: &[u8], kid: &str) -> Result<Self, SetupError> {
        let key = provider().key_provider.load_private_key(key_from_pem(key)?)?;
        if key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_none() {
            return Err(SetupError::Tls(rustls::Error::General("the key is none for ES256".to_owned())));
        }
        Ok(Self { client_id: client_id.to_owned(), by: By::Signature { key, kid: kid.to_owned() } })
    }

    /// What the connection shows.
    pub(super) fn on_connection(&self) -> Option<Arc<dyn ResolvesClientCert>> {
        match &self.by {
            By::Certificate(own) => Some(Arc::clone(own) as _),
            By::Secret(_) | By::Signature { .. } => None,
        }
    }

    /// The proof that goes with one question to `issuer`; nothing when the key cannot sign.
    pub(super) fn now(&self, issuer: &str, now: Timestamp) -> Option<Proven> {
        let client_id = format!("client_id={}", encoded(&self.client_id));
        match &self.by {
            By::Secret(header) => {
                let mut header = HeaderValue::from_str(header).ok()?;
                header.set_sensitive(true);
                Some(Proven { authorization: Some(header), fields: String::new() })
            }
            By::Certificate(_) => Some(Proven { authorization: None, fields: client_id }),
            By::Signature { key, kid } => {
                let assertion = self.assertion(&**key, kid, issuer, now)?;
                let kind = encoded(JWT_BEARER);
                let fields = format!("{client_id}&client_assertion_type={kind}&client_assertion={assertion}");
                Some(Proven { authorization: None, fields })
            }
        }
    }

    /// For this issuer alone, so that nobody else can use it there (RFC 7523 §3).
    fn assertion(&self, key: &dyn SigningKey, kid: &str, issuer: &str, now: Timestamp) -> Option<String> {
        let mut id = [0; 16];
        provider().secure_random.fill(&mut id).ok()?;
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": kid });
        let claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": issuer, "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.unix(), "exp": (now + ASSERTION).unix(),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])?;
        let signature = from_der(&signer.sign(signed.as_bytes()).ok()?)?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A value in a form (RFC 6749 appendix B).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(octet.into()),
            _ => out.push_str(&format!("%{octet:02X}")),
        }
    }
    out
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Invariant 8: neither secret nor key.
        let by = match self.by {
            By::Secret(_) => "client_secret_basic",
            By::Certificate(_) => "tls_client_auth",
            By::Signature { .. } => "private_key_jwt",
        };
        f.debug_struct("ClientProof").field("client_id", &self.client_id).field("by", &by).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_encoded_as_a_form_before_it_is_in_base64() {
        // RFC 6749 §2.3.1: a colon in the name would otherwise begin the secret.
        let proof = ClientProof::secret("a:b", "c d");
        let proven =
            proof.now("https://login.example", Timestamp::from_unix(1_795_435_200)).expect("a proof");
        assert_eq!(proven.authorization.expect("a header"), "Basic YSUzQWI6YyUyMGQ=");
        assert!(proven.fields.is_empty());
    }

    #[test]
    fn neither_secret_nor_key_is_shown() {
        let proof = ClientProof::secret("ledger", "swordfish");
        let proven =
            proof.now("https://login.example", Timestamp::from_unix(1_795_435_200)).expect("a proof");
        let shown = format!("{proof:?} {:?}", proven.authorization);
        assert!(
            shown.contains("ledger") && !shown.contains("swordfish") && !shown.contains("Basic "),
            "{shown}"
        );
    }
}

//! API keys: what the authorization server said of one (RFC 7662).

use std::fmt;
use std::sync::Arc;

use countersign_identity::{SpiffeId, Timestamp, TrustDomain};
use countersign_policy::Permission;

use super::access::{scope, text};
use super::members::{Members, Value};
use super::refusal::TokenRefusal;
use super::verdicts::Ends;

/// How every API key begins.
const PREFIX: &str = "csk1_";

/// `csk1_`, 16 hex digits of its id, `_`, 43 characters of its secret, `.`, 8 hex digits of its checksum.
const LENGTH: usize = 74;

/// An API key, as the authorization server knows it. Cloning shares it; the secret is not in it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Arc<Facts>);

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    subject: SpiffeId,
    id: String,
    expires: Timestamp,
    scope: Vec<Permission>,
}

impl ApiKey {
    /// Whom it stands for.
    #[must_use]
    pub fn subject(&self) -> &SpiffeId {
        &self.0.subject
    }

    /// Its name, which is no secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }

    /// What it carries. What its subject may is this, as far as the policy still gives it.
    #[must_use]
    pub fn scope(&self) -> &[Permission] {
        &self.0.scope
    }

    pub(crate) fn end(&self) -> Timestamp {
        self.0.expires
    }

    /// Whether a text is meant to be one.
    pub(super) fn is_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The id in a text that could be a key, so that asking about it makes sense.
    pub(super) fn id_in(text: &str) -> Option<&str> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_at_checked(16)?;
        let digits = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.');
        let good = text.len() == LENGTH && id.bytes().all(digits) && secret.starts_with('_');
        (good && secret.bytes().all(allowed)).then_some(id)
    }

    /// What an introspection answers (RFC 7662 §2.2); nothing if the key is good for nothing at this service.
    pub(super) fn read(
        id: &str,
        answer: &[u8],
        service: &str,
        home: &TrustDomain,
        now: Timestamp,
    ) -> Result<Option<Self>, TokenRefusal> {
        let unusable =
            |what: String| TokenRefusal::NotKnown { what: format!("the answer about a key: {what}") };
        let members = Members::read(answer).map_err(unusable)?;
        if members.get("active") != Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let claims = |fault: TokenRefusal| unusable(fault.to_string());
        // It is for one service, and the authorization server must say that it is for this one.
        if members.texts("aud") != [service] {
            return Ok(None);
        }
        let subject: SpiffeId = text(&members, "sub")
            .map_err(claims)?
            .parse()
            .map_err(|fault| unusable(format!("`sub` is no SPIFFE ID: {fault}")))?;
        let expires = members.seconds("exp").map(Timestamp::from_unix);
        let expires = expires.ok_or_else(|| unusable("`exp` is missing".to_owned()))?;
        if now >= expires || !subject.in_trust_domain(home) {
            return Ok(None);
        }
        Ok(Some(Self(Arc::new(Facts {
            subject,
            id: id.to_owned(),
            expires,
            scope: scope(text(&members, "scope").map_err(claims)?, service).map_err(claims)?,
        }))))
    }
}

impl Ends for ApiKey {
    fn end(&self) -> Timestamp {
        self.0.expires
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("subject", &self.0.subject)
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);

    fn read(answer: &str) -> Result<Option<ApiKey>, TokenRefusal> {
        ApiKey::read(
            "00000000000000a1",
            answer.as_bytes(),
            "ledger",
            &"prod.example".parse().expect("a domain"),
            NOON,
        )
    }

    fn good() -> ApiKey {
        let answer = r#"{"active":true,"sub":"spiffe://prod.example/batch","aud":"ledger","scope":"ledger:read",
            "exp":1795435260}"#;
        read(answer).expect("an answer").expect("an active key")
    }

    #[test]
    fn an_answer_is_believed_about_this_service_alone() {
        assert_eq!((good().id(), good().scope().len()), ("00000000000000a1", 1));
        for answer in [
            r#"{"active":false}"#,
            "{}",
            r#"{"active":"true"}"#,
            r#"{"active":true,"sub":"spiffe://prod.example/batch","aud":"archive","scope":"","exp":1795435260}"#,
            r#"{"active":true,"sub":"spiffe://prod.example/batch","aud":["ledger","archive"],"scope":"","exp":1795435260}"#,
            r#"{"active":true,"sub":"spiffe://other.example/batch","aud":"ledger","scope":"","exp":1795435260}"#,
            r#"{"active":true,"sub":"spiffe://prod.example/batch","aud":"ledger","scope":"","exp":1795435200}"#,
        ] {
            assert_eq!(read(answer), Ok(None), "{answer}");
        }
        for answer in [
            "",
            r#"{"active":true,"active":false}"#,
            r#"{"active":true,"aud":"ledger"}"#,
            r#"{"active":true,"sub":"spiffe://prod.example/a","aud":"ledger","exp":1795435260,"scope":"archive:read"}"#,
        ] {
            assert!(read(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn what_is_no_key_is_not_asked_about() {
        let key = format!("csk1_00000000000000a1_{}.12345678", "B".repeat(43));
        assert_eq!(ApiKey::id_in(&key), Some("00000000000000a1"));
        assert!(ApiKey::is_one(&key) && !ApiKey::is_one("eyJ"));
        for text in [&key[1..], &key[..73], "csk1_", &key.replace("a1_", "A1_"), &key.replace("BB.", "B&.")] {
            assert_eq!(ApiKey::id_in(text), None, "{text}");
        }
        assert_eq!(ApiKey::id_in(&key.replace("BBBB", "éB")), None);
    }
}

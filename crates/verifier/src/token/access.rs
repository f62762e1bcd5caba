//! An access token whose signature, issuer, audience and time are good, and what it says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_identity::{Lineage, SpiffeId, Timestamp};
use countersign_policy::Permission;

use super::members::{Members, Value};
use super::refusal::TokenRefusal;

/// An access token that was verified (RFC 9068). Cloning shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<Facts>);

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    issuer: String,
    subject: SpiffeId,
    id: Option<String>,
    key_id: Option<String>,
    issued: Timestamp,
    expires: Timestamp,
    end: Timestamp,
    scope: Vec<Permission>,
    binding: Binding,
}

/// Who may use a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Whoever holds the certificate with this SHA-256 (RFC 8705 §3.1), or a current one of this lineage under our own issuers.
    Bound {
        /// `x5t#S256`.
        thumbprint: [u8; 32],
        /// `cs_lineage`.
        lineage: Option<Lineage>,
    },
    /// Whoever has it.
    Unbound,
}

/// When tokens are judged, and how far clocks may be apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) skew: Duration,
}

impl AccessToken {
    /// Who made it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Who it is about.
    #[must_use]
    pub fn subject(&self) -> &SpiffeId {
        &self.0.subject
    }

    /// Its own name (`jti`).
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// The API key it was exchanged for (`cs_key`).
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.0.key_id.as_deref()
    }

    /// When it was made.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.0.issued
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

    /// Who may use it.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        &self.0.binding
    }

    /// The first second in which it is refused: its end, and the difference of clocks that is allowed for.
    pub(crate) fn end(&self) -> Timestamp {
        self.0.end
    }

    /// What our own certificate authority says in a token for `service`.
    pub(super) fn ours(claims: &Members, service: &str, moment: Moment) -> Result<Self, TokenRefusal> {
        let (issued, expires) = times(claims, moment, true)?;
        let subject = text(claims, "sub")?;
        if text(claims, "client_id")? != subject {
            return Err(wrong("`client_id` is not `sub`"));
        }
        Ok(Self(Arc::new(Facts {
            issuer: text(claims, "iss")?.to_owned(),
            subject: subject.parse().map_err(|fault| wrong(format!("`sub` is no SPIFFE ID: {fault}")))?,
            id: Some(text(claims, "jti")?.to_owned()),
            key_id: optional_text(claims, "cs_key")?,
            issued,
            expires,
            end: expires + moment.skew,
            scope: scope(text(claims, "scope")?, service)?,
            binding: our_binding(claims)?,
        })))
    }

    /// What another authorization server says, as the service maps it.
    pub(super) fn foreign(
        claims: &Members,
        (subject, scope): (SpiffeId, Vec<Permission>),
        moment: Moment,
    ) -> Result<Self, TokenRefusal> {
        let (issued, expires) = times(claims, moment, false)?;
        let thumbprint = confirmation(claims)?;
        Ok(Self(Arc::new(Facts {
            issuer: text(claims, "iss")?.to_owned(),
            subject,
            id: optional_text(claims, "jti")?,
            key_id: None,
            issued,
            expires,
            end: expires + moment.skew,
            scope,
            // A lineage is believed of our own certificate authority alone.
            binding: thumbprint
                .map_or(Binding::Unbound, |thumbprint| Binding::Bound { thumbprint, lineage: None }),
        })))
    }
}

fn wrong(what: impl Into<String>) -> TokenRefusal {
    TokenRefusal::Claims { what: what.into() }
}

pub(super) fn text<'a>(claims: &'a Members, name: &str) -> Result<&'a str, TokenRefusal> {
    claims.text(name).ok_or_else(|| wrong(format!("`{name}` is missing, or no text")))
}

fn optional_text(claims: &Members, name: &str) -> Result<Option<String>, TokenRefusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(format!("`{name}` is no text"))),
    }
}

/// `iat` and `exp`, the latter always there; `nbf` where there is one (RFC 7519 §4.1).
fn times(
    claims: &Members,
    moment: Moment,
    issued_is_required: bool,
) -> Result<(Timestamp, Timestamp), TokenRefusal> {
    let Moment { now, skew } = moment;
    let time = |name: &str| match (claims.get(name), claims.seconds(name)) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(wrong(format!("`{name}` is no time"))),
        (Some(_), Some(seconds)) => Ok(Some(Timestamp::from_unix(seconds))),
    };
    let expires = time("exp")?.ok_or_else(|| wrong("`exp` is missing"))?;
    let issued = match time("iat")? {
        Some(issued) => issued,
        None if issued_is_required => return Err(wrong("`iat` is missing")),
        None => Timestamp::MIN,
    };
    let begins = time("nbf")?.map_or(issued, |not_before| not_before.max(issued));
    if expires <= issued {
        return Err(wrong("`exp` is not after `iat`"));
    }
    if now >= expires + skew {
        return Err(TokenRefusal::Expired { by: now.since(expires) });
    }
    if begins > now + skew {
        return Err(TokenRefusal::NotYetValid { by: begins.since(now) });
    }
    Ok((issued, expires))
}

/// Permissions of this service, divided by single spaces (RFC 6749 §3.3).
pub(super) fn scope(text: &str, service: &str) -> Result<Vec<Permission>, TokenRefusal> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let read = |word: &str| {
        let permission: Permission = word.parse().map_err(|fault| wrong(format!("`scope`: {fault}")))?;
        match permission.service() == service {
            true => Ok(permission),
            false => Err(wrong(format!("`scope` holds {permission}, which is of another service"))),
        }
    };
    text.split(' ').map(read).collect()
}

/// A token is bound to its caller, or says in so many words that it is not.
fn our_binding(claims: &Members) -> Result<Binding, TokenRefusal> {
    let lineage = optional_text(claims, "cs_lineage")?;
    let lineage = lineage.map(|text| text.parse()).transpose();
    let lineage = lineage.map_err(|fault| wrong(format!("`cs_lineage`: {fault}")))?;
    match (confirmation(claims)?, lineage, claims.get("cs_unbound")) {
        (Some(thumbprint), lineage, None) => Ok(Binding::Bound { thumbprint, lineage }),
        (None, None, Some(Value::Bool(true))) => Ok(Binding::Unbound),
        _ => Err(wrong("neither bound by `cnf` alone nor unbound by `cs_unbound` alone")),
    }
}

/// `cnf` with `x5t#S256` and nothing else: a confirmation of another kind is one that this service cannot ask for.
fn confirmation(claims: &Members) -> Result<Option<[u8; 32]>, TokenRefusal> {
    if claims.get("cnf").is_none() {
        return Ok(None);
    }
    let confirmation = claims.object("cnf").ok_or_else(|| wrong("`cnf` is no object"))?;
    if confirmation.names().ne(["x5t#S256"]) {
        return Err(wrong("`cnf` holds another confirmation than `x5t#S256`"));
    }
    let octets = confirmation.text("x5t#S256").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let thumbprint = octets.and_then(|octets| octets.try_into().ok());
    thumbprint.map(Some).ok_or_else(|| wrong("`x5t#S256` is no SHA-256 in base64url"))
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("issuer", &self.0.issuer)
            .field("subject", &self.0.subject)
            .field("id", &self.0.id)
            .field("expires", &self.0.expires)
            .finish_non_exhaustive()
    }
}

//! An access token whose signature, issuer, audience and time are good, and what it says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_identity::{Lineage, Serial, SpiffeId, Timestamp};
use countersign_policy::Permission;

use super::members::{Members, Value};
use super::refusal::TokenRefusal;

/// An access token that was verified (RFC 9068). Cloning shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<Facts>);

#[derive(Clone, Debug, PartialEq, Eq)]
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
    bought: Bought,
}

/// Which certificate it was bought with: one that is bound to nobody dies with that certificate and its lineage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bought {
    serial: Option<Serial>,
    lineage: Option<Lineage>,
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

    /// The certificate it was bought with (`cs_serial`), where it is bound to nobody and was bought with one.
    #[must_use]
    pub fn serial(&self) -> Option<Serial> {
        self.0.bought.serial
    }

    /// The lineage of whoever bought it (`cs_lineage`); whether it is bound to that lineage too, [`binding`](Self::binding) says.
    #[must_use]
    pub fn lineage(&self) -> Option<Lineage> {
        self.0.bought.lineage
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
        let (binding, bought) = our_binding(claims)?;
        Ok(Self(Arc::new(Facts {
            issuer: text(claims, "iss")?.to_owned(),
            subject: subject.parse().map_err(|fault| wrong(format!("`sub` is no SPIFFE ID: {fault}")))?,
            id: Some(text(claims, "jti")?.to_owned()),
            key_id: optional_text(claims, "cs_key")?,
            issued,
            expires,
            end: expires + moment.skew,
            scope: scope(text(claims, "scope")?, service)?,
            binding,
            bought,
        })))
    }

    /// What another authorization server says, as the service maps it.
    pub(super) fn foreign(
        issuer: &str,
        claims: &Members,
        (subject, scope): (SpiffeId, Vec<Permission>),
        moment: Moment,
    ) -> Result<Self, TokenRefusal> {
        let (issued, expires) = times(claims, moment, false)?;
        let thumbprint = confirmation(claims)?;
        Ok(Self(Arc::new(Facts {
            issuer: issuer.to_owned(),
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
            bought: Bought::default(),
        })))
    }

    /// The same without any allowance for clocks.
    pub(super) fn ending_sharp(mut self) -> Self {
        let facts = Arc::make_mut(&mut self.0);
        facts.end = facts.expires;
        self
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

/// A token is bound to its caller, or says in so many words that it is not; then it may say what it dies with.
fn our_binding(claims: &Members) -> Result<(Binding, Bought), TokenRefusal> {
    let bought = Bought { serial: parsed(claims, "cs_serial")?, lineage: parsed(claims, "cs_lineage")? };
    match (confirmation(claims)?, bought.serial, claims.get("cs_unbound")) {
        (Some(thumbprint), None, None) => {
            Ok((Binding::Bound { thumbprint, lineage: bought.lineage }, bought))
        }
        (None, _, Some(Value::Bool(true))) => Ok((Binding::Unbound, bought)),
        _ => Err(wrong("neither bound by `cnf` alone nor unbound by `cs_unbound` alone")),
    }
}

fn parsed<T: FromStr<Err: fmt::Display>>(claims: &Members, name: &str) -> Result<Option<T>, TokenRefusal> {
    let read = optional_text(claims, name)?.map(|text| text.parse()).transpose();
    read.map_err(|fault| wrong(format!("`{name}`: {fault}")))
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

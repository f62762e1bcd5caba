//! Access tokens: for which service, with which permissions, until when, and worth something to whom (RFC 6749 §4.4,
//! RFC 9068).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_identity::{SpiffeId, Timestamp};
use countersign_issuance::{Registration, Source, Tokens};
use countersign_policy::{Permission, Policy, RESERVED_SERVICE, Standing};
use countersign_store::ApiKeyRecord;
use serde::Serialize;

use super::{Ca, Client, Holder, Refused};

/// The longest an access token lives: what a policy change or a verifier without news can miss.
const LIFE: Duration = Duration::from_mins(15);
/// How a resource indicator (RFC 8707) names a service: its name in the policy follows.
pub const RESOURCE_PREFIX: &str = "urn:countersign:service:";

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct TokenWish {
    /// The service, if it was named.
    pub service: Option<String>,
    /// The permissions, if any were named; else all there are.
    pub scope: Option<Vec<Permission>>,
}

/// An access token on its way out.
pub struct AccessToken {
    /// The compact JWS.
    pub token: String,
    /// How long it lives.
    pub expires_in: Duration,
    /// What it allows, in the order of the texts.
    pub scope: String,
}

/// Never the token (invariant 8).
impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Why there is no token. Exhaustive on purpose (invariant 7): the front desk has an error code for each
/// (RFC 6749 §5.2, RFC 8707 §2).
#[derive(Debug, thiserror::Error)]
pub enum Ungranted {
    /// The request is malformed.
    #[error("{0}")]
    Request(String),
    /// The client did not prove who it is, or is not accepted.
    #[error("{0}")]
    Client(String),
    /// The proof is too old to tell whether it is used for the first time; a new one is taken.
    #[error("{0}")]
    Stale(String),
    /// The client may not have tokens this way.
    #[error("{0}")]
    Unauthorized(String),
    /// The service is not named, or is none.
    #[error("{0}")]
    Target(String),
    /// Nothing of what was asked for may be had.
    #[error("{0}")]
    Scope(String),
    /// Another grant than client credentials.
    #[error("grant_type {0:?}: expected \"client_credentials\"")]
    GrantType(String),
    /// Too many of one identity.
    #[error("{id} asks for tokens too often")]
    TooOften {
        /// Who.
        id: String,
        /// Seconds until it may ask again.
        retry_after: u64,
    },
    /// The CA cannot answer.
    #[error(transparent)]
    Failed(#[from] Refused),
}

impl Ungranted {
    pub(super) fn too_often(id: &SpiffeId, wait: Duration) -> Self {
        Self::TooOften { id: id.to_string(), retry_after: wait.as_secs() + 1 }
    }
}

impl From<countersign_store::StoreError> for Ungranted {
    fn from(error: countersign_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// The claims of an access token (RFC 9068 §2.2, RFC 8705 §3.1).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    client_id: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cs_lineage: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cs_unbound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cs_serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cs_key: Option<String>,
}

#[derive(Serialize)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    thumbprint: String,
}

impl Ca {
    /// A token for `client`, if policy, registration and its certificate give it one now. No row is written for it.
    ///
    /// # Errors
    /// Every reason not to give one.
    pub async fn grant(
        &self,
        client: &Client,
        wish: &TokenWish,
        source: Source,
    ) -> Result<AccessToken, Ungranted> {
        self.rates().token(&client.id).map_err(|wait| Ungranted::too_often(&client.id, wait))?;
        let now = self.now();
        let registration = self.registered(client, now)?;
        let holder = bound_to(client, &registration)?;
        let basis = client.basis();
        let key = client.api_key();
        let service = wish.target(key)?;
        let policy = self.compiled_policy()?;
        let policy = policy.ok_or_else(|| Ungranted::Target("no policy is in force".to_owned()))?;
        let standing = policy.permissions_at(&client.id, service, now);
        let scope = narrowed(wish, key, service, &standing, &policy)?;
        let ends =
            [basis.map(|basis| basis.not_after), standing.valid_until(), registration.until, client.ends()];
        let end = ends.into_iter().flatten().fold(now + LIFE, Timestamp::min);
        let expires_in = end.since(now);
        if expires_in.is_zero() {
            return Err(Ungranted::Client("what the token would rest on ends in this second".to_owned()));
        }
        let jti = URL_SAFE_NO_PAD.encode(self.entropy().octets::<16>());
        let claims = Claims {
            iss: self.token_issuer(),
            sub: client.id.as_str(),
            client_id: client.id.as_str(),
            aud: service,
            iat: now.unix(),
            exp: end.unix(),
            jti: &jti,
            scope: &scope,
            cnf: holder.map(|holder| Confirmation { thumbprint: URL_SAFE_NO_PAD.encode(holder.thumbprint) }),
            cs_lineage: basis.map(|basis| basis.lineage.to_string()),
            cs_unbound: holder.is_none(),
            // Who is bound shows a certificate at each use. Whoever is not dies with the one that was shown here.
            cs_serial: basis.filter(|_| holder.is_none()).map(|basis| basis.serial.to_string()),
            cs_key: key.map(|key| key.id.to_string()),
        };
        let token = self.sign_token(&claims, now).await?;
        self.note_grant(client, service, &scope, source).await?;
        Ok(AccessToken { token, expires_in, scope })
    }

    /// The registration as it stands: who lost it gets nothing more (invariant 3).
    fn registered(&self, client: &Client, now: Timestamp) -> Result<Registration, Ungranted> {
        let registration = self.book().registration(&client.id)?;
        let stands = |one: &Registration| one.until.is_none_or(|until| now < until);
        registration
            .filter(stands)
            .ok_or_else(|| Ungranted::Client(format!("the registration of {} is gone", client.id)))
    }

    async fn sign_token(&self, claims: &Claims<'_>, now: Timestamp) -> Result<String, Refused> {
        let keys = self.keys();
        let pen = keys.token_ring().pen(now);
        let pen = pen.ok_or_else(|| Refused::File("there is no key of access tokens".to_owned()))?;
        let claims = serde_json::to_vec(claims).map_err(|error| Refused::File(error.to_string()))?;
        pen.sign(&claims).await.map_err(|error| Refused::File(error.to_string()))
    }
}

/// What the token is bound to; nothing only where the registration says so.
fn bound_to<'a>(client: &'a Client, registration: &Registration) -> Result<Option<&'a Holder>, Ungranted> {
    match (registration.tokens, client.holder()) {
        (Tokens::Bearer, _) => Ok(None),
        (Tokens::Bound, Some(holder)) => Ok(Some(holder)),
        (Tokens::Bound, None) => Err(Ungranted::Unauthorized(format!(
            "tokens of {} are bound to its certificate: come with it, or register the identity with tokens = bearer",
            client.id
        ))),
    }
}

/// The permissions the token carries: all there are, or those of the asked for that there are.
fn narrowed(
    wish: &TokenWish,
    key: Option<&ApiKeyRecord>,
    service: &str,
    standing: &Standing,
    policy: &Policy,
) -> Result<String, Ungranted> {
    if let Some(foreign) = wish.scope.iter().flatten().find(|permission| permission.service() != service) {
        return Err(Ungranted::Scope(format!(
            "{foreign} is no permission at {service}: one token, one service"
        )));
    }
    let of_key = |one: &Permission| key.is_none_or(|key| key.permissions.iter().any(|p| p == one.as_str()));
    let asked =
        |one: &&Permission| of_key(one) && wish.scope.as_ref().is_none_or(|scope| scope.contains(one));
    let scope: Vec<_> = standing.permissions().filter(asked).map(Permission::as_str).collect();
    if !scope.is_empty() {
        return Ok(scope.join(" "));
    }
    if !policy.services().any(|(name, _)| name == service) {
        return Err(Ungranted::Target(format!("{service:?} is no service of the policy in force")));
    }
    Err(Ungranted::Scope(format!("the policy gives nothing of what was asked for at {service}")))
}

impl TokenWish {
    /// The one service: named, or that of the permissions, or that of the API key.
    fn target<'a>(&'a self, key: Option<&'a ApiKeyRecord>) -> Result<&'a str, Ungranted> {
        let implied = || self.scope.iter().flatten().next().map(Permission::service);
        let own = key.map(|key| key.service.as_str());
        let service = self.service.as_deref().or_else(implied).or(own).ok_or_else(|| {
            Ungranted::Target(format!(
                "for which service: audience=NAME, resource={RESOURCE_PREFIX}NAME, or scope=NAME:ACTION"
            ))
        })?;
        if let Some(own) = own.filter(|own| *own != service) {
            return Err(Ungranted::Target(format!("this API key is for {own} and nothing else")));
        }
        if service == RESERVED_SERVICE {
            return Err(Ungranted::Target(format!("{service} takes certificates only")));
        }
        Ok(service)
    }
}

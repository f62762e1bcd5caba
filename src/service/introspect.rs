//! Introspection (RFC 7662) and revocation (RFC 7009): whether a token or key is alive, for the service it is for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_identity::{Lineage, Serial, SpiffeId, Timestamp};
use countersign_issuance::{Registration, Source, Tokens};
use countersign_policy::Permission;
use countersign_store::{Actor, ApiKeyRecord, MachineStatus, RevokedToken, TokenId};
use serde_json::{Map, Value, json};

use super::{Ca, Client, Refused, Ungranted, client::Proof};

/// Longer than any token or key of ours.
const LONGEST: usize = 8192;

/// Something that a caller asks about.
enum Credential {
    /// An access token that we signed, whether alive or not.
    Token(OwnToken),
    /// A living API key.
    ApiKey(Box<ApiKeyRecord>),
}

/// An access token under a key of our own.
struct OwnToken {
    claims: Map<String, Value>,
    id: TokenId,
    subject: SpiffeId,
    service: String,
    expires: Timestamp,
}

impl Ca {
    /// What is to be said of `text` to `caller`: nothing but that it is not active, unless it is alive and for a service
    /// that `caller` is. Why not is an event, and not told.
    ///
    /// # Errors
    /// When the caller proved itself by an API key, or the book cannot be read.
    pub async fn introspect(&self, caller: &Client, text: &str, source: Source) -> Result<Value, Ungranted> {
        by_key_of_its_own(caller)?;
        let credential = self.credential(text)?;
        let why = match &credential {
            None => "unknown",
            Some(one) if !self.is_service(&caller.id, one.service())? => "not_for_caller",
            Some(one) => match self.described(one)? {
                Some(described) => return Ok(described),
                None => "ended",
            },
        };
        let service = credential.as_ref().map(Credential::service);
        self.note_refusal("introspection.refused", Some(&caller.id), service, why, source).await;
        Ok(json!({ "active": false }))
    }

    /// Ends `text` before its time, if `caller` is whom it was given to, or the service it is for.
    ///
    /// # Errors
    /// When the caller proved itself by an API key, or the book takes no writes. Unknown and dead ones are no error
    /// (RFC 7009 §2.2).
    pub async fn withdraw(&self, caller: &Client, text: &str) -> Result<(), Ungranted> {
        by_key_of_its_own(caller)?;
        let Some(credential) = self.credential(text)? else { return Ok(()) };
        if *credential.subject() != caller.id && !self.is_service(&caller.id, credential.service())? {
            return Ok(());
        }
        // Each changes trust, which every service reads anew.
        self.rates().withdrawal(&caller.id).map_err(|wait| Ungranted::too_often(&caller.id, wait))?;
        let (actor, now) = (Actor::Identity(caller.id.clone()), self.now());
        match credential {
            Credential::ApiKey(key) => self.book().revoke_api_key(key.id, String::new(), actor, now).await?,
            Credential::Token(token) => {
                let OwnToken { id, expires, subject, service, .. } = token;
                let revoked = RevokedToken { id, expires, subject: subject.to_string(), service };
                self.book().revoke_token(revoked, actor, now).await?;
            }
        }
        Ok(())
    }

    fn credential(&self, text: &str) -> Result<Option<Credential>, Refused> {
        if text.len() > LONGEST {
            return Ok(None);
        }
        if text.starts_with(countersign_api::API_KEY_PREFIX) {
            let key = self.proven_api_key(text)?;
            return Ok(key.map(|key| Credential::ApiKey(Box::new(key))));
        }
        Ok(self.own_token(text).map(Credential::Token))
    }

    /// Reads a token whose header is, octet by octet, that of a key of ours, and whose signature is of that key: no word of
    /// a stranger chooses key or algorithm.
    fn own_token(&self, text: &str) -> Option<OwnToken> {
        let (message, signature) = text.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let keys = self.keys();
        if !keys.token_ring().verifies(self.algorithms(), header, message.as_bytes(), &signature) {
            return None;
        }
        let claims: Map<String, Value> =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        Some(OwnToken {
            id: URL_SAFE_NO_PAD.decode(text("jti")?).ok()?.try_into().ok()?,
            subject: text("sub")?.parse().ok()?,
            service: text("aud")?.to_owned(),
            expires: Timestamp::from_unix(claims.get("exp")?.as_i64()?),
            claims,
        })
    }

    fn is_token_alive(&self, token: &OwnToken) -> Result<bool, Refused> {
        if token.expires <= self.now() || self.book().is_token_revoked(&token.id, token.expires)? {
            return Ok(false);
        }
        let text = |name: &str| token.claims.get(name).and_then(Value::as_str);
        if let Some(id) = text("cs_key").and_then(|id| id.parse().ok())
            && self.book().api_key(id)?.is_none_or(|key| !key.is_alive(self.now()))
        {
            return Ok(false);
        }
        let bound = token.claims.contains_key("cnf");
        let registration = self.book().registration(&token.subject)?;
        let stands = |one: &Registration| one.until.is_none_or(|until| self.now() < until);
        if !registration.is_some_and(|one| stands(&one) && (bound || one.tokens == Tokens::Bearer)) {
            return Ok(false);
        }
        let serial = text("cs_serial").and_then(|serial| serial.parse::<Serial>().ok());
        let serial = serial.map(|serial| self.book().issuance(serial)).transpose()?.flatten();
        if serial.is_some_and(|issued| issued.issuance.revoked.is_some()) {
            return Ok(false);
        }
        let Some(lineage) = text("cs_lineage").and_then(|lineage| lineage.parse::<Lineage>().ok()) else {
            return Ok(!bound);
        };
        let machine = self.book().machine_of(lineage)?;
        let acts = |status| matches!(status, MachineStatus::Active | MachineStatus::Held);
        Ok(machine.is_some_and(|machine| acts(machine.status)))
    }

    /// What the service learns (RFC 7662 §2.2), as long as it is alive. What the policy has taken away since is not in it.
    fn described(&self, credential: &Credential) -> Result<Option<Value>, Refused> {
        if let Credential::Token(token) = credential
            && !self.is_token_alive(token)?
        {
            return Ok(None);
        }
        let now = self.now();
        let Some(policy) = self.compiled_policy()? else { return Ok(None) };
        let standing = policy.permissions_at(credential.subject(), credential.service(), now);
        let given: Vec<_> = credential
            .permissions()
            .into_iter()
            .filter(|one| one.parse::<Permission>().is_ok_and(|permission| standing.check(&permission)))
            .collect();
        if given.is_empty() {
            return Ok(None);
        }
        let (scope, mut said) = (given.join(" "), Map::new());
        match credential {
            Credential::Token(token) => {
                said.clone_from(&token.claims);
                said.insert("token_type".into(), "Bearer".into());
            }
            Credential::ApiKey(key) => {
                let stands = |one: &Registration| one.until.is_none_or(|until| now < until);
                if !self.book().registration(&key.spiffe_id)?.is_some_and(|one| stands(&one)) {
                    return Ok(None);
                }
                said.insert("token_type".into(), "api_key".into());
                said.insert("iss".into(), self.token_issuer().into());
                said.insert("sub".into(), key.spiffe_id.to_string().into());
                said.insert("client_id".into(), key.spiffe_id.to_string().into());
                said.insert("aud".into(), key.service.clone().into());
                said.insert("iat".into(), key.created.unix().into());
                said.insert("exp".into(), key.expires.unix().into());
                said.insert("cs_key".into(), key.id.to_string().into());
            }
        }
        said.insert("active".into(), true.into());
        said.insert("scope".into(), scope.into());
        Ok(Some(said.into()))
    }

    /// Whether `id` speaks for `service`.
    fn is_service(&self, id: &SpiffeId, service: &str) -> Result<bool, Refused> {
        Ok(self.compiled_policy()?.is_some_and(|policy| policy.serves(id, service, self.trust_domain())))
    }
}

impl Credential {
    fn service(&self) -> &str {
        match self {
            Self::Token(token) => &token.service,
            Self::ApiKey(key) => &key.service,
        }
    }

    fn subject(&self) -> &SpiffeId {
        match self {
            Self::Token(token) => &token.subject,
            Self::ApiKey(key) => &key.spiffe_id,
        }
    }

    fn permissions(&self) -> Vec<&str> {
        match self {
            Self::Token(token) => {
                let scope = token.claims.get("scope").and_then(Value::as_str).unwrap_or_default();
                scope.split(' ').collect()
            }
            Self::ApiKey(key) => key.permissions.iter().map(String::as_str).collect(),
        }
    }
}

/// An API key speaks at one service and nowhere else, so not here either.
fn by_key_of_its_own(caller: &Client) -> Result<(), Ungranted> {
    match caller.proof {
        Proof::ApiKey { .. } => {
            Err(Ungranted::Client("an API key only buys tokens: come with a certificate".to_owned()))
        }
        _ => Ok(()),
    }
}

//! API keys: made for one identity at one service, shown once, checked against a keyed hash.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use countersign_api::ApiKey;
use countersign_identity::{ApiKeyId, SpiffeId, Timestamp, duration};
use countersign_issuance::Registration;
use countersign_policy::{Permission, RESERVED_SERVICE};
use countersign_store::{Actor, ApiKeyFilter, ApiKeyRecord, Cursor, Listing};

use super::{Ca, Client, Holder, Refused, StartError, Ungranted, client::Proof, root_hand::RootActError};
use crate::{
    config::StateDir,
    signer::{Entropy, KeyFile, KeyHasher, Strength, new_key},
};

/// The longest a key lives: a secret that many may have seen must not live for years.
const LONGEST: Duration = Duration::from_hours(90 * 24);
/// The file of the key that hashes are under.
pub(super) const HASHED_UNDER: &str = "api-key";
/// How old a known last use may be before a new one is worth a write.
const COARSE: Duration = Duration::from_hours(1);
/// Uses remembered between two writes.
const MOST_USES: usize = 100_000;

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct ApiKeyWish {
    /// Whom the key speaks for.
    pub spiffe_id: SpiffeId,
    /// At which service.
    pub service: String,
    /// What it may do there; all that the identity may, if nothing is named.
    pub permissions: Vec<Permission>,
    /// How long.
    pub life: Duration,
    /// What for, in free words.
    pub note: String,
}

/// When keys were used since that was written down last.
#[derive(Debug, Default)]
pub(super) struct KeyUses(Mutex<HashMap<ApiKeyId, Timestamp>>);

/// Opens the key that hashes are under; a CA of an older version gets one.
pub(super) fn open_hasher(
    state: &StateDir,
    unlock: &[u8],
    entropy: &Entropy,
) -> Result<KeyHasher, StartError> {
    let file = KeyFile::at(state.key(HASHED_UNDER));
    if !file.path().exists() {
        let key = new_key().map_err(RootActError::from)?;
        file.create(key.serialized_der(), unlock, Strength::Generated, entropy)
            .map_err(RootActError::from)?;
    }
    Ok(KeyHasher::new(&file.open(unlock).map_err(RootActError::from)?))
}

impl Ca {
    /// Makes a key. The answer is the only place where its secret ever is.
    ///
    /// # Errors
    /// When the identity is not registered, may not do there what the key should, or the life is too long.
    pub async fn create_api_key(
        &self,
        wish: ApiKeyWish,
        actor: Actor,
    ) -> Result<(ApiKey, ApiKeyRecord), Refused> {
        let now = self.now();
        let permissions = self.permissions_for(&wish, now)?;
        self.make(wish, permissions, None, actor, now).await
    }

    /// Makes a key that takes the place of another, which goes on for `overlap` at most.
    ///
    /// # Errors
    /// As [`Ca::create_api_key`], and when the other has ended.
    pub async fn rotate_api_key(
        &self,
        id: ApiKeyId,
        life: Option<Duration>,
        overlap: Duration,
        actor: Actor,
    ) -> Result<(ApiKey, ApiKeyRecord), Refused> {
        let now = self.now();
        let old = self.known_api_key(id)?;
        let life = life.unwrap_or_else(|| old.expires.since(old.created).min(LONGEST));
        let wish = ApiKeyWish {
            spiffe_id: old.spiffe_id,
            service: old.service,
            permissions: Vec::new(),
            life,
            note: old.note,
        };
        self.check(&wish, now)?;
        // What was given once is not judged again: the policy narrows it at each use.
        self.make(wish, old.permissions, Some((id, now + overlap)), actor, now).await
    }

    async fn make(
        &self,
        wish: ApiKeyWish,
        permissions: Vec<String>,
        replaces: Option<(ApiKeyId, Timestamp)>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<(ApiKey, ApiKeyRecord), Refused> {
        let key = ApiKey::from_random(self.entropy().octets(), self.entropy().octets());
        let record = ApiKeyRecord {
            id: ApiKeyId::from_random(*key.id()),
            hash: self.hasher().hash(key.id(), key.secret()),
            under: self.hasher().name(),
            spiffe_id: wish.spiffe_id,
            service: wish.service,
            permissions,
            created: now,
            expires: now + wish.life,
            note: wish.note,
            last_used: None,
            revoked: None,
            successor: None,
            warned: 0,
        };
        self.book().create_api_key(record.clone(), replaces, actor, now).await?;
        tracing::info!(key = %record.id, id = %record.spiffe_id, service = record.service, "API key made");
        Ok((key, record))
    }

    /// Revokes a key: services refuse it as soon as they have the next trust snapshot.
    ///
    /// # Errors
    /// When no such key is known.
    pub async fn revoke_api_key(&self, id: ApiKeyId, reason: String, actor: Actor) -> Result<(), Refused> {
        Ok(self.book().revoke_api_key(id, reason, actor, self.now()).await?)
    }

    /// A page of keys.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn api_keys(
        &self,
        filter: &ApiKeyFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listing<ApiKeyRecord>, Refused> {
        Ok(self.book().api_keys(filter, after, limit)?)
    }

    /// One key.
    ///
    /// # Errors
    /// When there is none with this id.
    pub fn known_api_key(&self, id: ApiKeyId) -> Result<ApiKeyRecord, Refused> {
        let unknown =
            || countersign_store::StoreError::from(countersign_store::Refusal::ApiKeyUnknown { id });
        Ok(self.book().api_key(id)?.ok_or_else(unknown)?)
    }

    /// How a key stands: `active`, `revoked`, `expired`, or `void` if it was made before the CA came back from a backup.
    #[must_use]
    pub fn api_key_status(&self, key: &ApiKeyRecord) -> &'static str {
        match key {
            _ if key.revoked.is_some() => "revoked",
            _ if !key.is_alive(self.now()) => "expired",
            _ if key.under != self.hasher().name() => "void",
            _ => "active",
        }
    }

    /// The client that holds an API key. `named` is what it calls itself: the key's id, or the identity.
    ///
    /// # Errors
    /// `invalid_client`; why a key is refused is not told to who has none.
    pub(super) fn client_by_api_key(
        &self,
        text: &str,
        named: &str,
        holder: Option<(&SpiffeId, Holder)>,
    ) -> Result<Client, Ungranted> {
        let refused = || Ungranted::Client("the API key is not accepted".to_owned());
        let record = self.proven_api_key(text)?.ok_or_else(refused)?;
        if named != record.id.to_string() && named != record.spiffe_id.as_str() {
            return Err(refused());
        }
        let holder = holder.filter(|(id, _)| **id == record.spiffe_id).map(|(_, holder)| holder);
        Ok(Client { id: record.spiffe_id.clone(), proof: Proof::ApiKey { key: Box::new(record), holder } })
    }

    /// The record of a key that is alive and whose secret is right. An unknown id costs the same comparison.
    pub(super) fn proven_api_key(&self, text: &str) -> Result<Option<ApiKeyRecord>, Refused> {
        let Ok(key) = text.parse::<ApiKey>() else { return Ok(None) };
        let record = self.book().api_key(ApiKeyId::from_random(*key.id()))?;
        let hash = record.as_ref().map_or([0; 32], |record| record.hash);
        let right = self.hasher().is(&hash, key.id(), key.secret());
        let now = self.now();
        let record = record.filter(|record| right && record.is_alive(now));
        if let Some(record) = &record
            && record.last_used.is_none_or(|last| last + COARSE <= now)
        {
            let mut uses = self.key_uses.0.lock().unwrap_or_else(PoisonError::into_inner);
            if uses.len() < MOST_USES {
                uses.insert(record.id, now);
            }
        }
        Ok(record)
    }

    /// Writes down which keys were used since the last time.
    pub(super) async fn write_key_uses(&self) {
        let uses = std::mem::take(&mut *self.key_uses.0.lock().unwrap_or_else(PoisonError::into_inner));
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.book().note_api_key_uses(uses.into_iter().collect()).await {
            tracing::warn!(%error, "when API keys were used was not written down");
        }
    }

    /// What the key should carry, if the identity may do it now.
    fn permissions_for(&self, wish: &ApiKeyWish, now: Timestamp) -> Result<Vec<String>, Refused> {
        self.check(wish, now)?;
        let policy =
            self.compiled_policy()?.ok_or_else(|| Refused::ApiKey("no policy is in force".into()))?;
        let standing = policy.permissions_at(&wish.spiffe_id, &wish.service, now);
        if let Some(more) = wish.permissions.iter().find(|permission| !standing.check(permission)) {
            let (id, service) = (&wish.spiffe_id, &wish.service);
            return Err(Refused::ApiKey(format!("the policy does not give {id} {more} at {service}")));
        }
        let wanted = |one: &&Permission| wish.permissions.is_empty() || wish.permissions.contains(one);
        let permissions: Vec<_> = standing.permissions().filter(wanted).map(ToString::to_string).collect();
        if permissions.is_empty() {
            let (id, service) = (&wish.spiffe_id, &wish.service);
            return Err(Refused::ApiKey(format!("the policy gives {id} nothing at {service}")));
        }
        Ok(permissions)
    }

    fn check(&self, wish: &ApiKeyWish, now: Timestamp) -> Result<(), Refused> {
        if wish.service == RESERVED_SERVICE {
            return Err(Refused::ApiKey(format!("{RESERVED_SERVICE} takes certificates only")));
        }
        if wish.life.is_zero() || wish.life > LONGEST {
            return Err(Refused::Parameter {
                what: "ttl",
                found: duration::format(wish.life),
                expected: "between 1s and 90d".into(),
            });
        }
        let stands = |one: &Registration| one.until.is_none_or(|until| now < until);
        match self.book().registration(&wish.spiffe_id)?.filter(stands) {
            Some(_) => Ok(()),
            None => Err(Refused::ApiKey(format!("{} is not registered", wish.spiffe_id))),
        }
    }
}

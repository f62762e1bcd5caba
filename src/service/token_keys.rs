//! Registered keys: public keys that an operator lets an identity sign client assertions with (RFC 7523 §2.2), beside
//! those of its certificates.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_identity::Timestamp;
use countersign_issuance::{Registration, TokenKey};
use countersign_store::KeyStanding;

use super::{Assertion, Ca, Client, Refused, Shown, Ungranted, client::Proof};
use crate::signer::{coordinates, thumbprint};

impl Ca {
    /// The registration as it is to be written: a key without a name is called by its thumbprint, and each keeps the mark of
    /// when it was registered, so that stating it again after a restore does not bring it back to life.
    pub(super) fn with_settled_keys(
        &self,
        mut registration: Registration,
        before: Option<&Registration>,
    ) -> Registration {
        let mark = self.hasher().name();
        for key in &mut registration.token_keys {
            if key.id.is_empty() {
                key.id = named_by_thumbprint(&key.spki);
            }
            let known = before.iter().flat_map(|one| &one.token_keys);
            let known = known.filter(|old| old.id == key.id && old.spki == key.spki);
            key.under = known.map(|old| old.under).next().unwrap_or(mark);
        }
        registration
    }

    /// Whether each key that is new in `registration` may be registered: none of the CA's own, of a certificate that lives,
    /// or that an operator revoked.
    pub(super) fn check_token_keys(
        &self,
        registration: &Registration,
        before: Option<&Registration>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let is_new = |key: &&TokenKey| before.is_none_or(|one| !one.token_keys.contains(key));
        for key in registration.token_keys.iter().filter(is_new) {
            let refused = |why: &str| Refused::TokenKey { id: key.id.clone(), why: why.to_owned() };
            if key.until <= now {
                return Err(refused("its end is in the past"));
            }
            if self.keys().ca_keys().contains(&key.key_hash()) {
                return Err(refused("it is a key of the CA itself"));
            }
            match self.book().key_standing(&key.key_hash(), now)? {
                KeyStanding::Free => {}
                KeyStanding::Revoked => return Err(refused("it was revoked")),
                KeyStanding::Certified(serial) => {
                    return Err(refused(&format!(
                        "it is that of the certificate {serial}, which proves its holder without registration"
                    )));
                }
            }
        }
        Ok(())
    }

    /// How a registered key stands: `active`, `expired`, `revoked`, or `void` if it was registered before the CA came back
    /// from a backup.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn token_key_status(&self, key: &TokenKey) -> Result<&'static str, Refused> {
        let now = self.now();
        Ok(match self.book().key_standing(&key.key_hash(), now)? {
            KeyStanding::Revoked => "revoked",
            _ if key.until <= now => "expired",
            _ if key.under != self.hasher().name() => "void",
            _ => "active",
        })
    }

    /// The client that signed an assertion with a registered key; `None` if the assertion names none of its subject's. A
    /// certificate of the same identity on the same connection is what its tokens are bound to.
    ///
    /// # Errors
    /// `invalid_client`, with the reason.
    pub async fn client_by_registered_key(
        &self,
        assertion: &Assertion,
        beside: Option<&Shown<'_>>,
    ) -> Result<Option<Client>, Ungranted> {
        let (Some(kid), Ok(id)) = (assertion.kid(), assertion.subject().parse()) else { return Ok(None) };
        let now = self.now();
        let registration = self.book().registration(&id)?;
        let registration = registration.filter(|one| one.until.is_none_or(|until| now < until));
        let mut keys = registration.iter().flat_map(|one| &one.token_keys);
        let Some(key) = keys.find(|key| key.id == kid) else { return Ok(None) };
        self.judge_assertion(assertion, &id, &key.spki)?;
        // Only who has the key learns how it stands.
        match self.token_key_status(key)? {
            "active" => {}
            status => return Err(Ungranted::Client(format!("the assertion: its key {kid:?} is {status}"))),
        }
        let holder = match beside.filter(|shown| *shown.spiffe_id == id) {
            Some(shown) => self.holder_of(shown).await.ok(),
            None => None,
        };
        self.use_up(assertion, &id)?;
        Ok(Some(Client { id, proof: Proof::RegisteredKey { until: key.until, holder } }))
    }
}

/// The thumbprint of the key (RFC 7638); nothing for a key that will be refused anyway.
fn named_by_thumbprint(spki: &[u8]) -> String {
    let encoded = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
    coordinates(spki).map(|(x, y)| thumbprint(&encoded(x), &encoded(y))).unwrap_or_default()
}

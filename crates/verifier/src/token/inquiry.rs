//! What must be asked for before a credential can be judged: the keys of another authorization server, its word about a token, or our
//! own about an API key.

use super::access::Moment;
use super::api_key::ApiKey;
use super::foreign::ForeignIssuer;
use super::refusal::TokenRefusal;
use super::resource::{Accepted, ResourceServer, snapshot};
use super::unverified::{Unverified, is_opaque};
use super::verdicts::SecretDigest;
use crate::caller::Credential;
use crate::peer::VerifiedPeer;

impl ResourceServer {
    pub(super) async fn accept_any(
        &self,
        presented: &str,
        peer: Option<&VerifiedPeer>,
    ) -> Result<Accepted, TokenRefusal> {
        if ApiKey::is_one(presented) {
            return self.accept_key(presented).await;
        }
        if self.settings().foreign.is_empty() {
            return self.accept(presented, peer);
        }
        let token = Unverified::read(presented);
        let named = match &token {
            Ok(token) => self.foreign(|issuer| issuer.url() == token.issuer()),
            // What says nothing of itself can only be of the one that is asked. Whatever looks signed or encrypted was made by somebody
            // whose secret it may be, and is shown to nobody.
            Err(_) if is_opaque(presented) => self.foreign(ForeignIssuer::is_asked),
            Err(_) => None,
        };
        match (named, &token) {
            (Some(issuer), _) if issuer.is_asked() => self.accept_asked(issuer, presented, peer).await,
            (Some(issuer), Ok(token)) => {
                self.refresh(issuer, token).await;
                self.accept(presented, peer)
            }
            _ => self.accept(presented, peer),
        }
    }

    fn foreign(&self, is_it: impl Fn(&ForeignIssuer) -> bool) -> Option<&ForeignIssuer> {
        self.settings().foreign.iter().find(|issuer| is_it(issuer))
    }

    /// Looks at the keys of a foreign issuer anew, if a token of it names one that is unknown, or if they are old.
    async fn refresh(&self, issuer: &ForeignIssuer, token: &Unverified<'_>) {
        let now = self.now();
        if let Some(keys) = issuer.keys()
            && issuer.needs_a_look(keys, token, now)
        {
            keys.look(now).await;
        }
    }

    /// Asks another authorization server about a token, if it has not said in the last minute.
    async fn accept_asked(
        &self,
        issuer: &ForeignIssuer,
        token: &str,
        peer: Option<&VerifiedPeer>,
    ) -> Result<Accepted, TokenRefusal> {
        let moment = Moment { now: self.now(), skew: self.settings().skew };
        let token = issuer.ask(token, moment).await?;
        let anchors = self.anchors()?;
        self.is_held(&token, peer, &anchors)?;
        let caller = self.settings().gate.caller(Credential::Token(token));
        Ok(Accepted { caller, anchors })
    }

    /// Asks the authorization server about an API key, if it has not said in the last minute.
    async fn accept_key(&self, key: &str) -> Result<Accepted, TokenRefusal> {
        let settings = self.settings();
        let link = settings.link.as_ref().ok_or(TokenRefusal::Inactive)?;
        let malformed = || TokenRefusal::Malformed { what: "it is no API key".to_owned() };
        let id = ApiKey::id_in(key).ok_or_else(malformed)?;
        let ask = async {
            let body = format!("token={key}").into_bytes();
            let answer = link.post("/oauth2/introspect", "application/x-www-form-urlencoded", body).await;
            let answer = answer.map_err(|fault| TokenRefusal::NotKnown { what: fault.to_string() })?;
            let said = ApiKey::read(id, &answer, &settings.service, &settings.home, self.now())?;
            said.ok_or(TokenRefusal::Inactive)
        };
        let (questions, turns) = self.key_questions();
        let key = questions.verdict(SecretDigest::of(key), self.now(), turns, ask).await?;
        let anchors = self.anchors()?;
        if snapshot(&anchors)?.revokes_api_key(key.id()) {
            return Err(TokenRefusal::Revoked { what: "API key" });
        }
        let caller = settings.gate.caller(Credential::ApiKey(key));
        Ok(Accepted { caller, anchors })
    }
}

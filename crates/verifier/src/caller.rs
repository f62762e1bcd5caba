//! Who calls, by whatever proof, and what it may do: the same for certificates, tokens and API keys.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_identity::{SpiffeId, Timestamp};
use countersign_policy::{Decision, Permission, Standing};

use crate::gate::Gate;
use crate::outcome;
use crate::peer::VerifiedPeer;
#[cfg(feature = "tokens")]
use crate::token::{AccessToken, ApiKey};

/// Somebody proven, with the permissions the policy gives it. Cloning shares it.
///
/// Made by [`Gate::caller`], and by a `ResourceServer` (feature `tokens`) of whatever a request carries.
#[derive(Clone)]
pub struct Caller(Arc<Known>);

struct Known {
    gate: Gate,
    credential: Credential,
    standing: ArcSwap<Standing>,
}

/// What proved the caller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credential {
    /// Its certificate, on this connection.
    Certificate(VerifiedPeer),
    /// An access token (RFC 9068).
    #[cfg(feature = "tokens")]
    Token(AccessToken),
    /// An API key, as the authorization server knows it.
    #[cfg(feature = "tokens")]
    ApiKey(ApiKey),
}

impl Credential {
    /// Who it is.
    #[must_use]
    pub fn spiffe_id(&self) -> &SpiffeId {
        match self {
            Self::Certificate(peer) => peer.spiffe_id(),
            #[cfg(feature = "tokens")]
            Self::Token(token) => token.subject(),
            #[cfg(feature = "tokens")]
            Self::ApiKey(key) => key.subject(),
        }
    }

    /// The first second in which it proves nothing any more.
    fn end(&self) -> Timestamp {
        match self {
            // `not_after` is itself a valid second.
            Self::Certificate(peer) => peer.not_after() + Duration::from_secs(1),
            #[cfg(feature = "tokens")]
            Self::Token(token) => token.end(),
            #[cfg(feature = "tokens")]
            Self::ApiKey(key) => key.end(),
        }
    }

    /// What it carries at most; a certificate carries all that the policy gives.
    fn scope(&self) -> Option<&[Permission]> {
        match self {
            Self::Certificate(_) => None,
            #[cfg(feature = "tokens")]
            Self::Token(token) => Some(token.scope()),
            #[cfg(feature = "tokens")]
            Self::ApiKey(key) => Some(key.scope()),
        }
    }

    fn carries(&self, permission: &Permission) -> bool {
        self.scope().is_none_or(|scope| scope.contains(permission))
    }
}

impl Caller {
    pub(crate) fn new(gate: Gate, credential: Credential) -> Self {
        let standing = ArcSwap::from_pointee(gate.resolve(credential.spiffe_id(), gate.now()));
        Self(Arc::new(Known { gate, credential, standing }))
    }

    /// Who it is.
    #[must_use]
    pub fn spiffe_id(&self) -> &SpiffeId {
        self.0.credential.spiffe_id()
    }

    /// What proved it.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.0.credential
    }

    /// The peer, where its certificate is what proved it.
    #[must_use]
    pub fn peer(&self) -> Option<&VerifiedPeer> {
        match &self.0.credential {
            Credential::Certificate(peer) => Some(peer),
            #[cfg(feature = "tokens")]
            Credential::Token(_) | Credential::ApiKey(_) => None,
        }
    }

    /// Whether it may do this now, by which rule, and until when that holds.
    ///
    /// A set lookup; permissions are resolved again only when the policy was replaced or one of its times has come.
    #[must_use]
    pub fn authorize(&self, permission: &Permission) -> Decision {
        let decision = self.decide(permission);
        outcome::authorization(self, &decision, None, None);
        decision
    }

    /// All it may do now.
    #[must_use]
    pub fn permissions(&self) -> Vec<Permission> {
        let now = self.0.gate.now();
        self.by_standing(now, |standing| {
            let may =
                standing.permissions().filter(|permission| self.judge(standing, permission, now).allowed);
            may.cloned().collect()
        })
    }

    /// The same as [`authorize`](Self::authorize), said to nobody.
    pub(crate) fn decide(&self, permission: &Permission) -> Decision {
        let now = self.0.gate.now();
        self.by_standing(now, |standing| self.judge(standing, permission, now))
    }

    /// Why a decision went as it did: by the policy, or because what was presented does not carry the permission.
    pub(crate) fn why(&self, decision: &Decision) -> String {
        match self.0.credential.carries(&decision.permission) {
            true => decision.to_string(),
            false => format!("refused {}: what was presented does not carry it", decision.permission),
        }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Asks the standing held, or a new one where that no longer counts.
    fn by_standing<T>(&self, now: Timestamp, ask: impl FnOnce(&Standing) -> T) -> T {
        let Known { gate, credential, standing } = &*self.0;
        let held = standing.load();
        if held.holds_at(now) && gate.is_of_now(&held) {
            return ask(&held);
        }
        let fresh = gate.resolve(credential.spiffe_id(), now);
        let answer = ask(&fresh);
        standing.store(Arc::new(fresh));
        answer
    }

    /// The one place that answers (Invariant 7). What has ended grants nothing, whatever the policy says; and nothing grants
    /// more than it carries.
    fn judge(&self, standing: &Standing, permission: &Permission, now: Timestamp) -> Decision {
        let credential = &self.0.credential;
        let mut decision = standing.decision(permission);
        let end = credential.end();
        decision.valid_until = Some(decision.valid_until.map_or(end, |edge| edge.min(end)));
        if now >= end || (decision.allowed && !credential.carries(permission)) {
            decision.allowed = false;
            decision.rule = None;
        }
        decision
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.0.credential).finish()
    }
}

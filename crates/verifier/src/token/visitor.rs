//! Whoever is at the other end of one connection: recognised request by request, and remembered for the next one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};

use super::refusal::TokenRefusal;
use super::resource::{Accepted, ResourceServer};
use crate::caller::Caller;
use crate::outcome::{self, Reference};
use crate::peer::VerifiedPeer;

/// How many tokens are remembered on one connection: a proxy may speak for several callers.
const REMEMBERED: usize = 8;

/// The other end of one connection; made by [`ResourceServer::visitor`]. Cloning shares it.
///
/// A request that carries a token or an API key (`Authorization: Bearer`, RFC 6750 §2.1) is judged by it and by nothing else: one that
/// is not accepted is refused, whatever certificate the connection has. One that carries none is its certificate's.
#[derive(Clone)]
pub struct Visitor(Arc<Visit>);

struct Visit {
    resource: ResourceServer,
    peer: Option<VerifiedPeer>,
    by_certificate: Option<Caller>,
    /// Tokens that were accepted here, the newest first.
    seen: Mutex<VecDeque<(Box<str>, Accepted)>>,
}

/// Why nobody was recognised behind a request.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unrecognised {
    /// It carries nothing, and its connection has no certificate.
    #[error("it carries neither certificate nor token nor API key")]
    Nothing,
    /// More than one `Authorization`, or one that cannot be read: whoever read the other one would know another caller.
    #[error("it carries more than one `Authorization`, or one that is no text")]
    Ambiguous,
    /// What it carries is not accepted.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
}

/// The answer to a request behind which nobody was recognised. It says nothing of the reason; the log does, under its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `401`, `400` or `503`.
    pub status: StatusCode,
    /// A stable word.
    pub code: &'static str,
    /// The value of `WWW-Authenticate`.
    pub authenticate: String,
    /// What to look for in the service's log.
    pub reference: String,
}

impl ResourceServer {
    /// The other end of a new connection, with the peer its handshake has proven.
    #[must_use]
    pub fn visitor(&self, peer: Option<VerifiedPeer>) -> Visitor {
        let by_certificate = peer.clone().map(|peer| self.by_certificate(peer));
        Visitor(Arc::new(Visit { resource: self.clone(), peer, by_certificate, seen: Mutex::default() }))
    }

    /// What a request without a caller is answered, and says in the log why.
    #[must_use]
    pub fn challenge(&self, reason: &Unrecognised) -> Challenge {
        let (status, code, error) = match reason {
            Unrecognised::Nothing => (StatusCode::UNAUTHORIZED, "authentication_required", None),
            Unrecognised::Ambiguous => {
                (StatusCode::BAD_REQUEST, "authorization_ambiguous", Some("invalid_request"))
            }
            Unrecognised::Refused(refusal) if refusal.is_ours() => {
                (StatusCode::SERVICE_UNAVAILABLE, "trust_stale", None)
            }
            Unrecognised::Refused(_) => {
                (StatusCode::UNAUTHORIZED, "token_not_accepted", Some("invalid_token"))
            }
        };
        let reference = Reference::new();
        outcome::unrecognised(reason, reference, self.reporter());
        let authenticate = self.authenticate(error, None);
        Challenge { status, code, authenticate, reference: reference.to_string() }
    }
}

impl Visitor {
    /// Who sent a request with these headers. What was accepted before on this connection is only held against time and trust.
    ///
    /// # Errors
    /// When nobody is recognised.
    pub async fn recognise(&self, headers: &HeaderMap) -> Result<Caller, Unrecognised> {
        let visit = &*self.0;
        let Some(presented) = bearer(headers)? else {
            return visit.by_certificate.clone().ok_or(Unrecognised::Nothing);
        };
        if let Some(caller) = visit.seen_before(presented) {
            return Ok(caller);
        }
        let accepted = visit.resource.accept_any(presented, visit.peer.as_ref()).await?;
        let caller = accepted.caller.clone();
        outcome::presented(&Ok(caller.clone()), visit.resource.reporter());
        let mut seen = visit.seen();
        seen.truncate(REMEMBERED - 1);
        seen.push_front((presented.into(), accepted));
        Ok(caller)
    }

    /// The service that is visited.
    #[must_use]
    pub fn resource(&self) -> &ResourceServer {
        &self.0.resource
    }
}

impl Visit {
    fn seen_before(&self, presented: &str) -> Option<Caller> {
        let mut seen = self.seen();
        let at = seen.iter().position(|(token, _)| **token == *presented)?;
        let (_, accepted) = seen.get(at)?;
        if self.resource.still_accepts(accepted) {
            return Some(accepted.caller.clone());
        }
        seen.remove(at);
        None
    }

    fn seen(&self) -> MutexGuard<'_, VecDeque<(Box<str>, Accepted)>> {
        // Nothing panics while it is held.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands behind `Authorization: Bearer`; other schemes are somebody else's.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Unrecognised> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(one) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Unrecognised::Ambiguous);
    }
    let text = one.to_str().map_err(|_| Unrecognised::Ambiguous)?;
    let (scheme, presented) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    Ok(Some(presented.trim_matches(' ')))
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

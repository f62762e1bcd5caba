//! A permission as an argument of an axum handler, and the one place that answers requests without one.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use countersign_policy::{Decision, Permission};

use super::extract::{PeerRequired, problem_with};
use crate::caller::Caller;
use crate::gate::{Admitted, Gate};
use crate::outcome::{self, Reference};
use crate::peer::VerifiedPeer;
use crate::typed::NamedPermission;

/// Proof that the caller of this request holds the permission `P`: a handler that asks for it runs for nobody else.
///
/// Served by [`axum_serve_gated`](crate::axum_serve_gated), or with the feature `tokens` by `axum_serve_resource`, where tokens and API
/// keys count as well; without either nobody is allowed anything.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use countersign_verifier::{Allowed, permissions};
///
/// permissions! {
///     mod ledger = "ledger" { Read = "read", Write = "write" }
/// }
///
/// async fn entries(_: Allowed<ledger::Read>) -> &'static str {
///     "entries"
/// }
///
/// async fn add(allowed: Allowed<ledger::Write>) -> String {
///     format!("written for {}", allowed.caller().spiffe_id())
/// }
///
/// let router: Router = Router::new().route("/entries", get(entries).post(add));
/// ```
#[derive(Clone)]
pub struct Allowed<P> {
    caller: Caller,
    decision: Decision,
    permission: PhantomData<P>,
}

/// Why a request was not answered: nobody, or somebody without the permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// It came over a connection without a verified peer; `401`.
    Nobody(PeerRequired),
    /// Its caller may not; `403`.
    Refused {
        /// What it would need.
        permission: Permission,
        /// What to look for in the service's log.
        reference: String,
        /// What `WWW-Authenticate` says, where another token would do.
        challenge: Option<String>,
    },
    /// It carries nothing that proves anybody, or something that was not accepted.
    #[cfg(feature = "tokens")]
    Challenged(crate::token::Challenge),
}

impl<P> Allowed<P> {
    /// Who it is.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// By which rule of which policy, and until when.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }
}

impl<P> fmt::Debug for Allowed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowed").field("caller", &self.caller).field("decision", &self.decision).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = NotAllowed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotAllowed> {
        caller(&parts.extensions, None)
    }
}

impl<P: NamedPermission, S: Sync> FromRequestParts<S> for Allowed<P> {
    type Rejection = NotAllowed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotAllowed> {
        let (caller, decision) = ask(&parts.extensions, None, P::permission(), parts.uri.path())?;
        Ok(Self { caller, decision, permission: PhantomData })
    }
}

/// Whether the caller of a request may; `gate` is for connections that were not resolved by one.
pub(super) fn ask(
    extensions: &Extensions,
    gate: Option<&Gate>,
    permission: &Permission,
    path: &str,
) -> Result<(Caller, Decision), NotAllowed> {
    let caller = caller(extensions, gate)?;
    let decision = caller.decide(permission);
    let reference = (!decision.allowed).then(Reference::new);
    outcome::authorization(&caller, &decision, Some(path), reference);
    match reference {
        None => Ok((caller, decision)),
        Some(reference) => {
            let challenge = challenge(extensions, &caller, permission);
            let (permission, reference) = (permission.clone(), reference.to_string());
            Err(NotAllowed::Refused { permission, reference, challenge })
        }
    }
}

/// The caller of a request, by whatever it was recognised by.
pub(super) fn caller(extensions: &Extensions, gate: Option<&Gate>) -> Result<Caller, NotAllowed> {
    #[cfg(feature = "tokens")]
    if let Some(recognised) = extensions.get::<super::resource::Recognised>() {
        return recognised.caller();
    }
    match (extensions.get::<Admitted>(), extensions.get::<VerifiedPeer>(), gate) {
        (Some(admitted), _, _) => Ok(admitted.caller().clone()),
        (None, Some(peer), Some(gate)) => Ok(gate.admit(peer.clone()).caller().clone()),
        (None, Some(_) | None, _) => Err(NotAllowed::Nobody(PeerRequired)),
    }
}

/// What a caller with too small a token is told (RFC 6750 §3.1); one with a certificate can do nothing about it.
#[cfg(feature = "tokens")]
fn challenge(extensions: &Extensions, caller: &Caller, permission: &Permission) -> Option<String> {
    let recognised = extensions.get::<super::resource::Recognised>().filter(|_| caller.peer().is_none())?;
    Some(recognised.insufficient(permission))
}

#[cfg(not(feature = "tokens"))]
fn challenge(_extensions: &Extensions, _caller: &Caller, _permission: &Permission) -> Option<String> {
    None
}

impl IntoResponse for NotAllowed {
    fn into_response(self) -> Response {
        match self {
            Self::Nobody(nobody) => nobody.into_response(),
            #[cfg(feature = "tokens")]
            Self::Challenged(challenge) => {
                let detail = "present a certificate of this trust domain, or a token or key for this service";
                let answer = problem_with(challenge.status, challenge.code, detail, &challenge.reference);
                with_challenge(answer, Some(challenge.authenticate))
            }
            Self::Refused { permission, reference, challenge } => {
                let detail = format!("this needs the permission {permission}");
                let answer = problem_with(StatusCode::FORBIDDEN, "permission_denied", &detail, &reference);
                with_challenge(answer, challenge)
            }
        }
    }
}

fn with_challenge(mut answer: Response, challenge: Option<String>) -> Response {
    if let Some(value) = challenge.and_then(|challenge| HeaderValue::try_from(challenge).ok()) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    answer
}

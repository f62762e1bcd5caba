//! A permission as a proof, and the one place that answers requests without one.

use std::fmt;
use std::marker::PhantomData;

use countersign_policy::{Decision, Permission};
use hyper::http::Extensions;
use hyper::{Response, StatusCode};

use super::problem::Problem;
use crate::caller::Caller;
use crate::gate::{Admitted, Gate};
use crate::outcome::{self, Reference};
use crate::peer::VerifiedPeer;
use crate::typed::NamedPermission;

/// Proof that the caller of this request holds the permission `P`: a handler that asks for it runs for nobody else.
///
/// An argument of axum handlers; for other stacks, [`Allowed::of`] makes one of the extensions of a request. Callers come from
/// `axum_serve_gated`, with the feature `tokens` from `axum_serve_resource`, or from a layer: [`Admitted::layer`]. Without any of
/// these nobody is allowed anything.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
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

/// A request came over a connection without a verified peer; answers `401`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRequired;

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

impl<P: NamedPermission> Allowed<P> {
    /// The proof for a request with these extensions; `path` is for the log.
    ///
    /// # Errors
    /// When nobody is known behind it, or somebody without the permission.
    pub fn of(extensions: &Extensions, path: &str) -> Result<Self, NotAllowed> {
        let (caller, decision) = ask(extensions, None, P::permission(), path)?;
        Ok(Self { caller, decision, permission: PhantomData })
    }
}

/// Whether the caller of a request may; `gate` is for connections that were not resolved by one.
pub(crate) fn ask(
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
pub(crate) fn caller(extensions: &Extensions, gate: Option<&Gate>) -> Result<Caller, NotAllowed> {
    #[cfg(feature = "tokens")]
    if let Some(recognised) = extensions.get::<super::recognised::Recognised>() {
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
    let recognised = extensions.get::<super::recognised::Recognised>().filter(|_| caller.peer().is_none())?;
    Some(recognised.insufficient(permission))
}

#[cfg(not(feature = "tokens"))]
fn challenge(_extensions: &Extensions, _caller: &Caller, _permission: &Permission) -> Option<String> {
    None
}

impl PeerRequired {
    fn problem(self) -> Problem {
        Problem {
            status: StatusCode::UNAUTHORIZED,
            code: "certificate_required",
            detail: "connect with a certificate of this trust domain".to_owned(),
            reference: None,
            authenticate: None,
        }
    }

    /// The answer, for any stack on the types of the crate `http`.
    #[must_use]
    pub fn answer<B: From<String>>(self) -> Response<B> {
        self.problem().into_response()
    }
}

impl NotAllowed {
    /// The answer, for any stack on the types of the crate `http`.
    #[must_use]
    pub fn answer<B: From<String>>(self) -> Response<B> {
        let problem = match self {
            Self::Nobody(nobody) => nobody.problem(),
            #[cfg(feature = "tokens")]
            Self::Challenged(challenge) => Problem {
                status: challenge.status,
                code: challenge.code,
                detail: "present a certificate of this trust domain, or a token or key for this service"
                    .to_owned(),
                reference: Some(challenge.reference),
                authenticate: Some(challenge.authenticate),
            },
            Self::Refused { permission, reference, challenge } => Problem {
                status: StatusCode::FORBIDDEN,
                code: "permission_denied",
                detail: format!("this needs the permission {permission}"),
                reference: Some(reference),
                authenticate: challenge,
            },
        };
        problem.into_response()
    }
}

impl<P> fmt::Debug for Allowed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowed").field("caller", &self.caller).field("decision", &self.decision).finish()
    }
}

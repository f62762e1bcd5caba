//! A permission as an argument of an axum handler, and the one place that answers requests without one.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use countersign_policy::{Decision, Permission};

use super::extract::{PeerRequired, problem_with};
use crate::gate::{Admitted, Gate};
use crate::outcome::{self, Reference};
use crate::peer::VerifiedPeer;
use crate::typed::NamedPermission;

/// Proof that the peer of this request holds the permission `P`: a handler that asks for it runs for nobody else.
///
/// Served by [`axum_serve_gated`](crate::axum_serve_gated); without a gate nobody is allowed anything.
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
///     format!("written for {}", allowed.peer().spiffe_id())
/// }
///
/// let router: Router = Router::new().route("/entries", get(entries).post(add));
/// ```
#[derive(Clone)]
pub struct Allowed<P> {
    peer: VerifiedPeer,
    decision: Decision,
    permission: PhantomData<P>,
}

/// Why a request was not answered: nobody, or somebody without the permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// It came over a connection without a verified peer; `401`.
    Nobody(PeerRequired),
    /// Its peer may not; `403`.
    Refused {
        /// What it would need.
        permission: Permission,
        /// What to look for in the service's log.
        reference: String,
    },
}

impl<P> Allowed<P> {
    /// Who it is.
    #[must_use]
    pub const fn peer(&self) -> &VerifiedPeer {
        &self.peer
    }

    /// By which rule of which policy, and until when.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }
}

impl<P> fmt::Debug for Allowed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowed").field("peer", &self.peer).field("decision", &self.decision).finish()
    }
}

impl<P: NamedPermission, S: Sync> FromRequestParts<S> for Allowed<P> {
    type Rejection = NotAllowed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotAllowed> {
        let (peer, decision) = ask(&parts.extensions, None, P::permission(), parts.uri.path())?;
        Ok(Self { peer, decision, permission: PhantomData })
    }
}

/// Whether the peer of a request may; `gate` is for connections that were not resolved by one.
pub(super) fn ask(
    extensions: &Extensions,
    gate: Option<&Gate>,
    permission: &Permission,
    path: &str,
) -> Result<(VerifiedPeer, Decision), NotAllowed> {
    let (admitted, peer) = (extensions.get::<Admitted>(), extensions.get::<VerifiedPeer>());
    let (peer, decision, reporter) = match (admitted, peer, gate) {
        (Some(admitted), _, _) => (admitted.peer(), admitted.decide(permission), admitted.reporter()),
        (None, Some(peer), Some(gate)) => (peer, gate.decide(peer, permission), gate.reporter()),
        (None, Some(_) | None, _) => return Err(NotAllowed::Nobody(PeerRequired)),
    };
    let reference = (!decision.allowed).then(Reference::new);
    outcome::authorization(peer, &decision, Some(path), reference, reporter);
    match reference {
        None => Ok((peer.clone(), decision)),
        Some(reference) => {
            let (permission, reference) = (permission.clone(), reference.to_string());
            Err(NotAllowed::Refused { permission, reference })
        }
    }
}

impl IntoResponse for NotAllowed {
    fn into_response(self) -> Response {
        match self {
            Self::Nobody(nobody) => nobody.into_response(),
            Self::Refused { permission, reference } => {
                let detail = format!("this needs the permission {permission}");
                problem_with(StatusCode::FORBIDDEN, "permission_denied", &detail, &reference)
            }
        }
    }
}

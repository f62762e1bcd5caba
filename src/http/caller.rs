//! Who calls an admin route, and whether they may: the kernel's word on the unix socket, a certificate and the
//! policy elsewhere (DESIGN §4).

use std::sync::Arc;

use axum::{
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State},
    http::{Method, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use countersign_api::{ProblemCode, paths};
use countersign_identity::SpiffeId;
use countersign_policy::Permission;
use countersign_store::{Actor, Presentation};
use countersign_verifier::{Presented, Refusal, VerifiedPeer};
use tokio::net::UnixListener;

use super::{desk::drain, problem::Failure, visitor::Visitor};
use crate::service::Ca;

/// An operator, on this machine or elsewhere.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// At the unix socket.
    Local { uid: u32 },
    /// Over mTLS, with the permission the route asks for.
    Remote(SpiffeId),
}

impl Caller {
    /// As events name it.
    pub(super) fn actor(&self) -> Actor {
        match self {
            Self::Local { uid } => Actor::Local { uid: *uid },
            Self::Remote(id) => Actor::Identity(id.clone()),
        }
    }

    /// Over mTLS nobody touches an identity that holds any permission of the CA's own: who could would soon hold
    /// them all.
    pub(super) fn may_touch(&self, ca: &Ca, id: &SpiffeId) -> Result<(), Failure> {
        match self {
            Self::Local { .. } => Ok(()),
            Self::Remote(_) if !ca.is_privileged(id)? => Ok(()),
            Self::Remote(_) => Err(only_local(format_args!("{id} holds a permission of this CA"))),
        }
    }
}

fn only_local(why: impl std::fmt::Display) -> Failure {
    Failure::new(ProblemCode::PermissionDenied, format_args!("{why}: only the CA's unix socket may do this"))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Failure::new(ProblemCode::PermissionDenied, "nobody vouches for the caller"))
    }
}

/// The user id at the other end of a unix socket, as the kernel tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerUid(Option<u32>);

impl axum::extract::connect_info::Connected<IncomingStream<'_, UnixListener>> for PeerUid {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|cred| cred.uid()))
    }
}

/// Lets in whoever could open the socket, and remembers who it was.
pub(super) async fn by_uid(
    ConnectInfo(PeerUid(uid)): ConnectInfo<PeerUid>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(uid) = uid else {
        return Failure::new(ProblemCode::PermissionDenied, "the kernel does not say who calls")
            .into_response();
    };
    request.extensions_mut().insert(Caller::Local { uid });
    next.run(request).await
}

/// Lets in an identity whose certificate is live and to which the policy gives the route's permission.
pub(super) async fn by_certificate(State(ca): State<Arc<Ca>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let permission = permission_for(request.method(), path);
    let visitor = request.extensions().get::<Visitor>().map(|visitor| visitor.presented(ca.now()));
    let admitted = match visitor {
        Some(Presented::Verified(peer)) => admit(&ca, &peer, permission).await,
        Some(Presented::Refused(refusal)) => Err(Failure::from(refusal).server_time(ca.now())),
        Some(Presented::None) | None => Err(Refusal::NoCertificate.into()),
    };
    match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(failure) => {
            drain(request.into_body()).await;
            failure.into_response()
        }
    }
}

async fn admit(ca: &Ca, peer: &VerifiedPeer, permission: Option<&str>) -> Result<Caller, Failure> {
    let id = peer.spiffe_id();
    let permission = permission.ok_or_else(|| {
        Failure::new(ProblemCode::PermissionDenied, "this is for the CA's unix socket alone")
    })?;
    let unknown =
        || Failure::new(ProblemCode::CertificateUnknown, "this CA has no live record of the certificate");
    let serial = peer.serial().ok_or_else(unknown)?;
    let presented = ca.present_elsewhere(serial).await?;
    if !matches!(
        presented,
        Presentation::Current { .. } | Presentation::Confirmed { .. } | Presentation::Older { .. }
    ) {
        return Err(unknown());
    }
    let permission: Permission = format!("countersign:{permission}")
        .parse()
        .map_err(|_| Failure::new(ProblemCode::Internal, "the route has no permission"))?;
    let decision = ca.decide(id, &permission)?;
    match decision {
        Some(decision) if decision.allowed => Ok(Caller::Remote(id.clone())),
        Some(decision) => Err(Failure::new(ProblemCode::PermissionDenied, format_args!("{id}: {decision}"))),
        None => Err(Failure::new(ProblemCode::PermissionDenied, "no policy is in force")),
    }
}

/// The CA's own permission that each admin route asks for (DESIGN §4); one that is not listed is nobody's (invariant 6).
fn permission_for(method: &Method, path: &str) -> Option<&'static str> {
    let reads = method == Method::GET;
    match path {
        paths::ADMIN_EVENTS if reads => Some("log-read"),
        paths::ADMIN_REGISTRATIONS
        | paths::ADMIN_MACHINES
        | paths::ADMIN_ISSUED
        | paths::ADMIN_ISSUERS
        | paths::ADMIN_STATUS
        | paths::ADMIN_POLICY
        | paths::ADMIN_USES
        | paths::ADMIN_TRUST
        | paths::ADMIN_API_KEYS
            if reads =>
        {
            Some("read")
        }
        paths::ADMIN_INVITATIONS => Some("invite"),
        paths::ADMIN_REGISTRATIONS | paths::ADMIN_REGISTRATIONS_IMPORT => Some("registrations"),
        paths::ADMIN_MACHINES_ACT | paths::ADMIN_REVOKE => Some("revoke"),
        paths::ADMIN_API_KEYS | paths::ADMIN_API_KEYS_ROTATE | paths::ADMIN_API_KEYS_REVOKE => Some("keys"),
        paths::ADMIN_POLICY => Some("policy"),
        _ => None,
    }
}

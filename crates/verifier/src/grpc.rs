//! Permissions in front of gRPC: an interceptor for a whole tonic service, and proof for one method.

use countersign_policy::Permission;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::gate::Gate;
use crate::typed::NamedPermission;
use crate::web::{self, Allowed, NotAllowed};

/// Lets only those calls through whose caller holds a permission; made by [`Gate::require_grpc`].
#[derive(Clone, Debug)]
pub struct RequireGrpc {
    gate: Gate,
    permission: Permission,
}

impl Gate {
    /// An interceptor for services that need this permission: `UNAUTHENTICATED` for nobody, `PERMISSION_DENIED` for a caller without it.
    #[must_use]
    pub fn require_grpc(&self, permission: Permission) -> RequireGrpc {
        if !self.knows(&permission) {
            tracing::warn!(%permission, "no service of the policy declares this permission, so nobody can hold it");
        }
        RequireGrpc { gate: self.clone(), permission }
    }
}

impl Interceptor for RequireGrpc {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        // An interceptor does not see which method is called.
        let asked = web::ask(request.extensions(), Some(&self.gate), &self.permission, "");
        asked.map_err(NotAllowed::status)?;
        Ok(request)
    }
}

impl<P: NamedPermission> Allowed<P> {
    /// The proof for one call, to be asked for first in its method; `method` is for the log.
    ///
    /// # Errors
    /// When nobody is known behind it, or somebody without the permission.
    pub fn of_call<T>(request: &Request<T>, method: &str) -> Result<Self, Status> {
        Self::of(request.extensions(), method).map_err(NotAllowed::status)
    }
}

impl NotAllowed {
    /// The answer in gRPC; like the one in HTTP it carries a reference to the log and no reason.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Nobody(_) => Status::unauthenticated("connect with a certificate of this trust domain"),
            #[cfg(feature = "tokens")]
            Self::Challenged(challenge) if challenge.status.is_server_error() => {
                Status::unavailable(format!("{} (reference {})", challenge.code, challenge.reference))
            }
            #[cfg(feature = "tokens")]
            Self::Challenged(challenge) => {
                Status::unauthenticated(format!("{} (reference {})", challenge.code, challenge.reference))
            }
            Self::Refused { permission, reference, .. } => Status::permission_denied(format!(
                "this needs the permission {permission} (reference {reference})"
            )),
        }
    }
}

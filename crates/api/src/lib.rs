//! The wire of Countersign: paths, request and response bodies, problem codes, PEM, and the invitation string.
//!
//! Nothing here talks to a network or decides anything; the CA, the agent and the command line share these
//! structs so that they cannot drift apart. Times are RFC 3339 strings in UTC, certificates are PEM.
//!
//! ```
//! use countersign_api::Invitation;
//!
//! let invitation = Invitation {
//!     url: "https://ca.example:8443".into(),
//!     trust_domain: "prod.example".into(),
//!     root_sha256: [7; 32],
//!     secret: [9; 32],
//! };
//! let text = invitation.to_string();
//! assert!(text.starts_with("csinv1_"));
//! assert_eq!(text.parse::<Invitation>()?, invitation);
//! # Ok::<(), countersign_api::InvitationError>(())
//! ```

pub mod admin;
mod api_key;
mod api_keys;
mod bundle;
mod decision;
mod enrollment;
mod invitation;
pub mod paths;
mod pem;
mod problem;
mod renewal;
pub mod trust;
mod workload;

pub use api_key::{API_KEY_PREFIX, ApiKey, ApiKeyError};
pub use api_keys::{ApiKeyEntry, ApiKeyMade, ApiKeyRequest, ApiKeyRevokeRequest, ApiKeyRotateRequest};
pub use bundle::{Bundle, BundleKey, RootsResponse};
pub use decision::{Decision, DecisionKind, DecisionReport, ReportResponse};
pub use enrollment::{CertificateResponse, EnrollRequest, RenewRequest};
pub use invitation::{Invitation, InvitationError};
pub use pem::pem_block;
pub use problem::{Problem, ProblemCode};
pub use renewal::{DeployedRequest, RecoverRequest, RenewalWindow, WorkloadWindow};
pub use workload::{
    Audience, JwtSvidRequest, JwtSvidResponse, WorkloadRegistration, WorkloadRegistrations, WorkloadRequest,
};

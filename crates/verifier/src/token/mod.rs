//! Access tokens (RFC 9068) and API keys at the resource server: verified offline where that is possible, under the same identities
//! and the same policy as certificates.

mod access;
mod api_key;
mod client_proof;
mod foreign;
mod foreign_keys;
mod inquiry;
mod introspection;
mod jwk;
mod members;
mod metadata;
mod questions;
mod refusal;
mod resource;
mod settings;
mod unverified;
mod verdicts;
mod visitor;

pub use access::{AccessToken, Binding};
pub use api_key::ApiKey;
pub use client_proof::ClientProof;
pub use foreign::{ForeignIssuer, KnownBy};
pub use foreign_keys::ForeignKeys;
pub use introspection::Introspection;
pub use jwk::{JwkSetError, SignedBy};
pub use members::Members;
pub use refusal::TokenRefusal;
pub use resource::ResourceServer;
pub use settings::{ResourceError, ResourceSettings};
pub use visitor::{Challenge, Unrecognised, Visitor};

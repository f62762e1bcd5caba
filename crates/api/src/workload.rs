//! The workloads of a machine: which identities it may hand out, and how it gets them.

use serde::{Deserialize, Serialize};

/// `GET /v1/registrations?after=N`: all identities whose registration has the caller as its parent. A request whose
/// `after` is the newest `sequence` is held until something changes, at most 55 seconds, and then answered in full.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkloadRegistrations {
    /// Grows with each change; hand it back as `after`.
    pub sequence: u64,
    /// In the order of their SPIFFE IDs.
    pub registrations: Vec<WorkloadRegistration>,
    /// The CA's clock as it answered, RFC 3339.
    pub server_time: String,
}

/// One identity that a machine may hand to a process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkloadRegistration {
    /// The identity.
    pub spiffe_id: String,
    /// What a process must be, all of it: `unix:uid:1001`, `systemd:unit:api.service`, ….
    pub selectors: Vec<String>,
    /// Until when the registration stands, RFC 3339; absent without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// `POST /v1/workload`, over the machine's certificate: a certificate for one of its workloads. The answer is that of an
/// enrollment; its `machine` is the workload's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadRequest {
    /// The workload's identity.
    pub spiffe_id: String,
    /// The certificate signing request of a new key, PEM.
    pub csr: String,
}

/// `POST /v1/jwt-svid`, over the machine's certificate: a JWT-SVID for itself or for one of its workloads.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSvidRequest {
    /// The identity: the machine's own or one of its workloads'.
    pub spiffe_id: String,
    /// For whom it is meant: one name, or several.
    pub audience: Audience,
}

/// One name or several, as `aud` is written in a JWT (RFC 7519 §4.1.3).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Audience {
    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// The answer to a [`JwtSvidRequest`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct JwtSvidResponse {
    /// The identity.
    pub spiffe_id: String,
    /// The compact JWS.
    pub svid: String,
    /// The last second it is valid, RFC 3339.
    pub expires: String,
    /// The CA's clock as it answered, RFC 3339.
    pub server_time: String,
}

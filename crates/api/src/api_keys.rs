//! The bodies of the admin routes about API keys.

use serde::{Deserialize, Serialize};

/// `POST /v1/admin/keys`: a new key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// Whom it speaks for.
    pub spiffe_id: String,
    /// At which service.
    pub service: String,
    /// What it may do there, `service:action`; all that the identity may, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// How long it lives.
    pub ttl_seconds: u64,
    /// What it is for, in free words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// `POST /v1/admin/keys/rotate`: a key in place of another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRotateRequest {
    /// The other's id.
    pub key: String,
    /// How long the new one lives; as long as the other was to, if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How long the other goes on.
    pub overlap_seconds: u64,
}

/// `POST /v1/admin/keys/revoke`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRevokeRequest {
    /// The key's id.
    pub key: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to a new key: the secret is shown once and never again.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct ApiKeyMade {
    /// `csk1_…`
    pub secret: String,
    /// The key without it.
    pub key: ApiKeyEntry,
}

/// Invariant 8: never in a log.
impl std::fmt::Debug for ApiKeyMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyMade").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A key as lists show it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ApiKeyEntry {
    /// Its id, 16 hex digits.
    pub key: String,
    /// Whom it speaks for.
    pub spiffe_id: String,
    /// At which service.
    pub service: String,
    /// What it may do there at most.
    pub permissions: Vec<String>,
    /// `active`, `expired`, `revoked`, or `void`: made before the CA came back from a backup.
    pub status: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, RFC 3339.
    pub expires: String,
    /// When it was last used, RFC 3339, to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
    /// The key that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

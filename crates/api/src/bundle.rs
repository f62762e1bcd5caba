//! The SPIFFE bundle as a JWK set, and the roots documents.

use serde::{Deserialize, Serialize};

/// A SPIFFE bundle (SPIFFE Trust Domain and Bundle §4).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bundle {
    /// One key for each authority.
    pub keys: Vec<BundleKey>,
    /// Grows with each change of content.
    pub spiffe_sequence: u64,
    /// Seconds a consumer may wait before it asks again.
    pub spiffe_refresh_hint: u64,
}

/// One authority of a bundle. An X.509 authority has no `kid` (SPIFFE X509-SVID §6.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BundleKey {
    /// `x509-svid` or `jwt-svid`.
    #[serde(rename = "use")]
    pub usage: String,
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// The x coordinate, base64url without padding.
    pub x: String,
    /// The y coordinate, base64url without padding.
    pub y: String,
    /// Set for `jwt-svid` keys only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Exactly one certificate, base64 DER; set for `x509-svid` keys only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x5c: Option<Vec<String>>,
}

/// Every roots document of the trust domain, oldest first (DESIGN §4).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RootsResponse {
    /// JWS in the general JSON serialization (RFC 7515 §7.2.1), one per version.
    pub documents: Vec<serde_json::Value>,
}

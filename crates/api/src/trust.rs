//! Trust snapshots on the wire: the payload that is signed, the parts it names, and the file that carries both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `typ` of a trust snapshot's header.
pub const SNAPSHOT_KIND: &str = "countersign-trust+jws";

/// The media type of a trust snapshot (RFC 7515 §9.2.1).
pub const SNAPSHOT_MEDIA_TYPE: &str = "application/jose";

/// The payload of a trust snapshot (DESIGN §4). Readers pass over members they do not know.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrustPayload {
    /// The trust domain.
    pub trust_domain: String,
    /// The number in the signer's certificate, which only the root raises.
    pub epoch: u64,
    /// How often within the epoch what is to be believed has changed.
    pub sequence: u64,
    /// When it was signed, RFC 3339.
    pub issued: String,
    /// Past this it is stale, RFC 3339.
    pub expires: String,
    /// Seconds after which a reader that does not wait should look again.
    pub refresh_hint: u64,
    /// Every roots document, oldest first, as `/v1/roots` serves them.
    pub roots: Vec<serde_json::Value>,
    /// The part [`IssuersPart`].
    pub issuers: PartRef,
    /// The parts [`RevokedPart`].
    pub revoked: Vec<PartRef>,
    /// The permission policy, TOML, as applied; empty octets without one.
    pub policy: PartRef,
    /// A JWK set.
    pub token_keys: PartRef,
}

/// Names a part by what it holds.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct PartRef {
    /// SHA-256 of its octets, lower-case hex.
    pub sha256: String,
    /// How many octets it has.
    pub size: u64,
}

/// The issuers that certificates may be under.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct IssuersPart {
    /// Certificates, base64 DER.
    pub issuers: Vec<String>,
}

/// A chunk of what is revoked; an absent list is empty.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevokedPart {
    /// Serials by issuer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<RevokedSerials>,
    /// Lineages: what of them begins before the first time is refused, until the second (Unix seconds).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lineages: Vec<(String, i64, i64)>,
    /// SPIFFE IDs, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<(String, i64, i64)>,
    /// Ids of API keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_keys: Vec<String>,
    /// Ids of access tokens (`jti`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_ids: Vec<String>,
}

/// Revoked serials of one issuer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevokedSerials {
    /// The issuer's subject key identifier, lower-case hex.
    pub issuer: String,
    /// Serial (lower-case hex) and end (Unix seconds), in the order of the serials.
    pub entries: Vec<(String, i64)>,
}

/// A snapshot with all its parts: anything that can carry a file can carry trust.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrustFile {
    /// The form of the file: 1.
    pub countersign_trust: u32,
    /// The compact JWS.
    pub snapshot: String,
    /// Parts by SHA-256 (lower-case hex), base64.
    pub parts: BTreeMap<String, String>,
}

impl TrustPayload {
    /// Every part it names.
    pub fn parts(&self) -> impl Iterator<Item = &PartRef> {
        [&self.issuers, &self.policy, &self.token_keys].into_iter().chain(&self.revoked)
    }
}

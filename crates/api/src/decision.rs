//! What verifiers tell the CA of their decisions (`POST /v1/events`).

use serde::{Deserialize, Serialize};

/// A batch of outcomes at one service. The reporter needs the permission `countersign:report-events` and must be one of the
/// service's own identities, as the policy names them: it reports about itself only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionReport {
    /// The service's name in the policy.
    pub service: String,
    /// What happened, oldest first; at most [`DecisionReport::MOST`].
    pub decisions: Vec<Decision>,
    /// Allowed outcomes that were left out since the last report: sampled away under pressure.
    #[serde(default)]
    pub dropped: u64,
}

impl DecisionReport {
    /// The most decisions in one report.
    pub const MOST: usize = 512;
}

/// One outcome of an authentication or authorization.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// When, RFC 3339.
    pub time: String,
    /// What was judged.
    pub kind: DecisionKind,
    /// Whether the caller passed.
    pub allowed: bool,
    /// Who called; absent when nobody was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// The serial of the certificate, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The permission that was asked for, `service:action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    /// The rule that decided, as the policy numbers it (`grant 3`), or the reason of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The policy's version: SHA-256 of its text, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The reference that the caller was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// How many alike this one stands for; at least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
}

/// What was judged.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Who calls.
    Authentication,
    /// Whether they may.
    Authorization,
}

/// The answer to a report.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReportResponse {
    /// How many were written down.
    pub accepted: u64,
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_one(count: &u64) -> bool {
    *count == 1
}

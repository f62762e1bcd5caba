//! What a machine says about its certificate beside renewing it: when to, that it is served, that it came back.

use serde::{Deserialize, Serialize};

/// `GET /v1/renewal`: the window as it stands now: a part of the one that came with the certificate, so that machines born
/// together come back spread, or one that an operator pulled forward.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RenewalWindow {
    /// Renew no earlier than this, RFC 3339.
    pub renew_after: String,
    /// Renew no later than this, RFC 3339.
    pub renew_before: String,
    /// Why an operator pulled it forward, in words; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Workloads of this machine whose windows an operator pulled forward and that have not renewed since; absent if none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadWindow>,
    /// Seconds after which to ask again.
    pub ask_again: u64,
    /// The CA's clock as it answered, RFC 3339.
    pub server_time: String,
}

/// The window of one workload, in the answer to its machine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkloadWindow {
    /// Whose.
    pub spiffe_id: String,
    /// Renew no earlier than this, RFC 3339.
    pub renew_after: String,
    /// Renew no later than this, RFC 3339.
    pub renew_before: String,
    /// Why an operator pulled it forward, in words.
    pub reason: String,
}

/// `POST /v1/recover`, over the expired certificate: the next one, with the same answer as a renewal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// The certificate signing request of a new key, PEM.
    pub csr: String,
}

/// `POST /v1/deployed`: somebody saw this certificate being served.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeployedRequest {
    /// The serial that was seen, lower-case hex.
    pub serial: String,
    /// Where it was seen, `HOST:PORT`.
    pub address: String,
}

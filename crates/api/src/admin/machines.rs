//! Machines, as operators see them and act on them.

use serde::{Deserialize, Serialize};

/// A machine as lists show it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Machine {
    /// `m-…`
    pub machine: String,
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// `active`, `held`, `suspended`, `removed`, `replaced` or `revoked`.
    pub status: String,
    /// Its lineage, `l-…`.
    pub lineage: String,
    /// The serial it last presented, lower-case hex.
    pub confirmed: String,
    /// The serial issued and not presented yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Its profile.
    pub profile: String,
    /// When it enrolled, RFC 3339.
    pub enrolled: String,
    /// When it last renewed or enrolled, RFC 3339.
    pub last_seen: String,
    /// When its newest certificate ends, RFC 3339.
    pub not_after: String,
    /// The machine it is a workload of, `m-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Where it last came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_source: Option<String>,
    /// The certificate that was last seen being served, as its agent reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<DeployedCertificate>,
    /// What became of its right to come back by itself after expiry; absent as long as it never needed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<MachineRecovery>,
    /// Until when it was told to renew, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_by: Option<String>,
}

/// A certificate that was seen being served.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeployedCertificate {
    /// Its serial, lower-case hex.
    pub serial: String,
    /// Where, `HOST:PORT`.
    pub address: String,
    /// When, RFC 3339.
    pub at: String,
}

/// What became of a machine's right to come back by itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MachineRecovery {
    /// When it last came back, RFC 3339: not again until an operator resets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// It asked and waits for an operator.
    pub asked: bool,
    /// An operator approved what it asked for.
    pub approved: bool,
    /// A second holder was seen, or a certificate of its was revoked.
    pub barred: bool,
}

/// What `machines suspend|resume|approve|remove|reset-recovery|renew` do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineAct {
    /// Refuse everything until resumed.
    Suspend,
    /// Take a suspension back.
    Resume,
    /// Let held machines renew again.
    Approve,
    /// Forget the machine: its certificates are revoked.
    Remove,
    /// Let it come back by itself once more after its certificate has expired.
    ResetRecovery,
    /// Renew soon, whatever the window says.
    Renew,
}

/// `POST /v1/admin/machines/act`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MachineActRequest {
    /// A machine id or a SPIFFE ID (all its machines).
    pub target: String,
    /// What to do.
    pub act: MachineAct,
    /// Why, for the event.
    #[serde(default)]
    pub reason: Option<String>,
    /// Needed when a SPIFFE ID names more than one machine.
    #[serde(default)]
    pub all: bool,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// With `renew`: seconds within which all machines meant are to have renewed; each gets its own moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<u64>,
}

/// Which machines and certificates an act reached or would reach.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ActResponse {
    /// Machine ids.
    pub machines: Vec<String>,
    /// Serials that were live and no longer are.
    pub serials: Vec<String>,
    /// Ids of the workloads that fell with their machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
}

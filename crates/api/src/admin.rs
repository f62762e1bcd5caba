//! The bodies of the admin routes: what the command line says to a running CA.

mod machines;

use serde::{Deserialize, Serialize};

pub use machines::{
    ActResponse, DeployedCertificate, Machine, MachineAct, MachineActRequest, MachineRecovery,
};

/// A standing right, as operators write and read it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The SPIFFE ID.
    pub spiffe_id: String,
    /// The profile's name.
    #[serde(default = "workload")]
    pub profile: String,
    /// DNS names its certificates carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// IP addresses its certificates carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<String>,
    /// The last moment anything is issued under it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `one` or `many`.
    #[serde(default = "one")]
    pub machines: String,
    /// `bound` or `bearer`: what its access tokens are worth without its key.
    #[serde(default = "bound", skip_serializing_if = "is_bound")]
    pub tokens: String,
    /// Keys that may sign its client assertions, beside those of its certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_keys: Vec<TokenKey>,
    /// Whether another identity may hold the same names.
    #[serde(default)]
    pub shared: bool,
    /// The machine's SPIFFE ID under which this workload runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Which local processes get it, under a parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<String>,
    /// When it was made, RFC 3339; ignored on input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// A public key that an identity may prove itself with to the authorization server (RFC 7523 §2.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// What assertions call it (`kid`); left out: its thumbprint (RFC 7638).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// PEM, `PUBLIC KEY`; P-256.
    pub public_key: String,
    /// From when it proves nothing any more, RFC 3339.
    pub until: String,
    /// Who holds the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `active`, `expired`, `revoked` or `void`; ignored on input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

fn workload() -> String {
    "workload".into()
}

fn bound() -> String {
    "bound".into()
}

fn is_bound(tokens: &str) -> bool {
    tokens == "bound"
}

fn one() -> String {
    "one".into()
}

/// `POST /v1/admin/invitations`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// The registration to use, or to create if absent.
    pub registration: Registration,
    /// Fields of the registration the caller stated; others may differ from an existing one.
    #[serde(default)]
    pub stated: Vec<String>,
    /// Seconds until the invitation expires.
    pub ttl_seconds: u64,
    /// How many keys may redeem it.
    pub uses: u32,
}

/// The answer: the invitation is shown once and never again.
#[derive(Clone, Deserialize, Serialize)]
pub struct InviteResponse {
    /// `csinv1_…`; absent for a workload, whose certificates its machine fetches.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub invitation: String,
    /// When it expires, RFC 3339.
    pub expires: String,
    /// Whether the registration was made by this call.
    pub registration_created: bool,
}

/// Invariant 8: never in a log.
impl std::fmt::Debug for InviteResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InviteResponse").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// One page of a list; `next` is the `after` of the following page.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /v1/admin/registrations/import`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The registrations, all taken or none.
    pub registrations: Vec<Registration>,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an import did or would do.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ImportResponse {
    /// Registrations that were not there.
    pub created: u64,
    /// Registrations that were there with other values.
    pub changed: u64,
    /// Registrations that were there as given.
    pub unchanged: u64,
}

/// A certificate as `issued list` shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Issued {
    /// Lower-case hex.
    pub serial: String,
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// The machine that holds it; absent for the CA's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Its lineage.
    pub lineage: String,
    /// Its profile.
    pub profile: String,
    /// `live`, `intended` (no signed certificate was stored), `revoked`.
    pub status: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// SHA-256 of its public key, hex.
    pub key: String,
    /// The certificate, PEM; only from `issued show`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// What `revoke` names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokeKind {
    /// A machine id or a SPIFFE ID.
    Machine,
    /// A lineage id.
    Lineage,
    /// A serial.
    Serial,
    /// The SHA-256 of a public key.
    Key,
}

/// `POST /v1/admin/revoke`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// What kind of thing `target` names.
    pub kind: RevokeKind,
    /// The id, serial, lineage or key.
    pub target: String,
    /// Why, for the event.
    #[serde(default)]
    pub reason: Option<String>,
    /// Needed when a SPIFFE ID names more than one machine.
    #[serde(default)]
    pub all: bool,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// An issuer as `issuer list` shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Issuer {
    /// SHA-256 of its public key, hex.
    pub key: String,
    /// Lower-case hex.
    pub serial: String,
    /// `signing`, `trusted` (older, still verifies) or `ended`.
    pub state: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// How much of its life is left, in percent.
    pub life_left_percent: u8,
}

/// `POST /v1/admin/reload`: what changed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ReloadResponse {
    /// The keys that have new values.
    pub changed: Vec<String>,
}

/// `GET /v1/admin/status`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// The trust domain.
    pub trust_domain: String,
    /// The CA's clock, RFC 3339.
    pub server_time: String,
    /// Why the store takes no writes, if it does not.
    #[serde(default)]
    pub store_read_only: Option<String>,
    /// Machines that are active.
    pub machines: u64,
    /// Certificates that have not expired.
    pub certificates: u64,
    /// Registrations.
    pub registrations: u64,
    /// Events ever: the number of the newest.
    #[serde(default)]
    pub events: u64,
    /// The first so many of them are in the archive.
    #[serde(default)]
    pub events_archived: u64,
    /// Why old events do not leave for the archive, if they do not.
    #[serde(default)]
    pub archive_failing: Option<String>,
    /// The signing issuer's end, RFC 3339.
    pub issuer_not_after: String,
    /// The CA server certificate's end, RFC 3339.
    pub server_not_after: String,
    /// Since when this process serves, RFC 3339.
    pub started: String,
    /// This program's version.
    pub version: String,
}

/// One event, as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Event {
    /// The event's fields.
    #[serde(flatten)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// `GET` and `POST /v1/admin/policy`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PolicyDocument {
    /// SHA-256 of the text; absent on input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The policy file, TOML.
    pub text: String,
}

/// An identity used a permission, as services report it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PermissionUse {
    /// Who.
    pub spiffe_id: String,
    /// What, `service:action`.
    pub permission: String,
    /// When last, to the hour, RFC 3339.
    pub last: String,
}

//! `countersign.toml` exactly as it is written; every default is argued where it stands.

use serde::Deserialize;

/// The file, key by key. [`super::Config`] is what the program uses.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The trust domain this CA serves.
    pub trust_domain: String,
    /// Where machines reach it.
    #[serde(default = "listen")]
    pub listen: String,
    /// Where health and metrics are read. Plain HTTP, so loopback only.
    #[serde(default = "ops_listen")]
    pub ops_listen: String,
    /// The URL written into invitations; its host stands in the CA's server certificate.
    pub url: Option<String>,
    /// Keys, book and socket; relative to the file.
    #[serde(default = "state")]
    pub state: String,
    /// The directory of profiles; relative to the file.
    #[serde(default = "profiles")]
    pub profiles: String,
    /// How the book is kept.
    #[serde(default)]
    pub store: StoreTable,
    /// What is logged.
    #[serde(default)]
    pub log: LogTable,
    /// TLS 1.3 settings.
    #[serde(default)]
    pub tls: TlsTable,
    /// Who may read the trust snapshot.
    #[serde(default)]
    pub trust: TrustTable,
    /// Every limit (invariant 10).
    #[serde(default)]
    pub limits: LimitsTable,
}

fn listen() -> String {
    "127.0.0.1:8443".into()
}

fn ops_listen() -> String {
    "127.0.0.1:9443".into()
}

fn state() -> String {
    "state".into()
}

fn profiles() -> String {
    "profiles".into()
}

/// `[store]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreTable {
    /// `fjall` and `sled` keep the book on disk (decision 0007); `memory` forgets it at exit and is for trials and
    /// measurements only.
    pub engine: String,
}

impl Default for StoreTable {
    fn default() -> Self {
        Self { engine: "fjall".into() }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogTable {
    /// A `tracing` filter.
    pub level: String,
    /// `text` for people, `json` for collectors.
    pub format: String,
}

impl Default for LogTable {
    fn default() -> Self {
        // At debug level h2 logs every frame, so the libraries are kept quieter than our own rooms.
        Self { level: "info,h2=warn,hyper=info,rustls=warn".into(), format: "text".into() }
    }
}

/// `[tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsTable {
    /// Key-exchange groups, most wanted first. The hybrid first: it costs a tenth more CPU and
    /// protects what is recorded today from tomorrow's quantum computer.
    pub groups: Vec<String>,
}

impl Default for TlsTable {
    fn default() -> Self {
        Self { groups: vec!["X25519MLKEM768".into(), "X25519".into(), "secp256r1".into()] }
    }
}

/// `[trust]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustTable {
    /// Whether a stranger may read the trust snapshot. Not by default: policy and identities are a map for an attacker.
    pub public: bool,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsTable {
    /// Bytes of a request body. A CSR with a few names is below 2 KiB.
    pub body_bytes: u64,
    /// TLS handshakes under way at once; more wait in the kernel's queue.
    pub handshakes: u32,
    /// Connections open at once.
    pub connections: u32,
    /// Connections open at once from one address.
    pub connections_per_source: u32,
    /// Seconds a client may take for its handshake.
    pub handshake_seconds: u64,
    /// Seconds a client may take for a request, headers and body.
    pub request_seconds: u64,
    /// Seconds after which a connection is closed between requests: a verdict must not outlive its reasons.
    pub connection_age_seconds: u64,
    /// Requests a second from one address, over time.
    pub requests_per_second_per_source: u32,
    /// Requests one address may make at once before the rate applies.
    pub burst_per_source: u32,
    /// Renewals a minute of one machine.
    pub renewals_per_minute_per_machine: u32,
    /// Access tokens a second of one identity, and as many at once: a fleet of one identity that restarts together
    /// asks once each.
    pub tokens_per_second_per_identity: u32,
    /// Commands waiting for the book before callers are told to come back.
    pub store_queue: u32,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            handshakes: 256,
            connections: 4096,
            connections_per_source: 512,
            handshake_seconds: 10,
            request_seconds: 10,
            connection_age_seconds: 300,
            requests_per_second_per_source: 200,
            burst_per_source: 400,
            renewals_per_minute_per_machine: 30,
            tokens_per_second_per_identity: 100,
            store_queue: 4096,
        }
    }
}

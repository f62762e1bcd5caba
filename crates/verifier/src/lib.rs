//! For services: know the peer by its SPIFFE certificate, and what it may do by the permission policy.
//!
//! Protecting a service, with the files that `countersign-agent` keeps (features `axum` and `http`):
//!
#![cfg_attr(all(feature = "axum", feature = "http"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "axum", feature = "http")), doc = "```ignore")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use countersign_verifier::*;
//! use std::{fs, future, time::Duration};
//!
//! let me = OwnIdentity::from_files("svid.pem", "svid.key")?;
//! let files = ("svid.pem".into(), "svid.key".into());
//! tokio::spawn(follow_identity_files(me.clone(), files, Duration::from_secs(30)));
//! let roots = bundle_from_pem("prod.example".parse()?, &fs::read("bundle.pem")?)?;
//! let trust = LiveTrust::anchored(roots).kept_in("trust").open()?;
//! tokio::spawn(trust.clone().follow_ca("https://ca.prod.example:8443".parse()?, Some(me.clone())));
//! trust.ready().await;
//! let acceptor = ServerBuilder::new(me, trust.store())
//!     .admit(PeerRule::matching(["spiffe://prod.example/payments/**".parse()?]))
//!     .build()?;
//! let gate = trust.gate();
//! let router = Router::new()
//!     .route("/entries", get(|peer: VerifiedPeer| async move { format!("hello {}", peer.spiffe_id()) }))
//!     .route_layer(gate.require("ledger:read".parse()?));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8444").await?;
//! axum_serve_gated(listener, acceptor, gate, router, future::pending()).await?;
//! # Ok(()) }
//! ```
//!
//! Whoever is revoked is cut off as soon as the CA has told; a CA that is away stops nobody, for a day by default.
//! Without a CA to ask, a bundle and a policy from files do: [`TrustStore::new`], [`Gate::new`].
//!
//! # Where to begin
//! - A server: [`ServerBuilder`]. A client: [`ClientBuilder`]. Both ask whom to let through before anything else works.
//! - What to believe, kept right while it changes: [`LiveTrust`]; bundles of other domains: [`follow_bundle_file`], and with
//!   the feature `http` `BundleEndpoint`. Trust and certificate from an agent's socket (feature `workload-api`): `WorkloadApi`.
//! - A verdict on certificates from elsewhere: [`SvidVerifier`]. A refusal says what is wrong: [`Refusal`].
//! - Permissions: [`Gate`]. To answer peers with bad certificates instead of hanging up: [`FrontDoor`].
//! - Connections that live long, without HTTP: [`Vigil`].
//! - What was decided, told to the CA: [`Reporter`].
//! - Access tokens and API keys (feature `tokens`): `ResourceServer`.
//!
//! # What is promised
//! The bundle is chosen by the trust domain in the leaf before any path is built. Leaves and signing certificates obey
//! the rules of the X.509 SVID standard that common TLS libraries skip. TLS 1.3 only; no session is ever resumed, since
//! that would skip the verdict. Time comes from a [`Clock`], whole seconds, both ends of a certificate inclusive. A
//! verdict asks nobody: what it needs is in memory. Roots change only by roots documents, trust never goes backwards.
//!
//! # What is linked
//! Without features beyond the default: rustls with aws-lc-rs and rustls-webpki for the cryptography, tokio for
//! connections, serde_json and base64 for snapshots, toml for policies, and no HTTP. `http` adds hyper as a client: of the
//! CA, of bundle endpoints. `tower` adds layers for every stack on tower, `axum` the accept loops and extractors, `tonic` the
//! same for gRPC, `hyper-client` a connector for hyper's pooled client. `tokens` adds access tokens and API keys, and no
//! further crate than `http`. `workload-api` adds the crate `spiffe` with its gRPC client. `ring` is another provider, and both may be on: the builders take the one to use.

mod authority;
mod caller;
mod certificate;
mod client;
mod clock;
mod crl;
mod crl_store;
mod der;
mod distribution;
mod door;
mod extension;
mod gate;
#[cfg(feature = "tonic")]
mod grpc;
mod handshake;
#[cfg(feature = "hyper-client")]
mod hyper_client;
mod jwks;
mod jws;
mod key;
mod known_paths;
mod leaf;
mod limit;
mod live;
mod name;
mod outcome;
mod own;
mod path;
mod peer;
mod pem;
mod pinned;
mod profile;
mod provider;
mod refusal;
mod report;
mod revocation;
mod rule;
mod scope;
#[cfg(feature = "axum")]
mod serve;
mod server;
mod snapshot;
mod source;
mod staleness;
mod strict_door;
mod svid;
mod time;
mod tls;
#[cfg(feature = "tokens")]
mod token;
mod trust;
mod typed;
mod verdict;
mod vigil;
#[cfg(feature = "tower")]
mod web;

pub use arc_swap::ArcSwap;
pub use countersign_identity::{Clock, IdPattern, SpiffeId, Timestamp, TrustBundle, TrustDomain};
pub use countersign_policy::{Decision, Permission, PermissionLiteral, Policy, PolicyError, PolicyVersion};

pub use caller::{Caller, Credential};
pub use client::{ClientBuilder, ClientConnector, ClientSettings, ConnectError};
pub use clock::SystemClock;
pub use crl::CrlFault;
pub use crl_store::{CrlStore, LeftOut};
pub use door::{FrontDoor, Presented};
pub use gate::{Admitted, Gate};
#[cfg(feature = "tonic")]
pub use grpc::RequireGrpc;
#[cfg(feature = "hyper-client")]
pub use hyper_client::{HyperConnectError, HyperConnector, KnownServer};
pub use jwks::{JwksError, bundle_from_jwks};
pub use key::KeyRule;
pub use limit::{KeyKind, LimitFault};
pub use live::LiveSet;
pub use own::{OwnIdentity, SetupError};
pub use path::{PathFault, PathVerifier};
pub use peer::{ExpiredPeer, PeerFacts, VerifiedPeer};
pub use pem::{PemError, bundle_from_pem, certificates_from_pem, crls_from_pem};
pub use profile::ProfileRule;
pub use provider::provider;
pub use refusal::{AuthorityRule, ChainFault, LeafRule, NotSpiffe, Refusal};
pub use report::{Report, ReportCounts, Reporter};
pub use revocation::{Inquiry, Revocation, Standing};
pub use rule::{DangerousRules, PeerRule};
#[cfg(all(feature = "axum", feature = "tokens"))]
pub use serve::axum_serve_resource;
#[cfg(feature = "axum")]
pub use serve::{Admission, Arrival, Limits, Wire, axum_serve, axum_serve_gated, serve_connections};
pub use server::{AcceptError, HANDSHAKE_TIMEOUT, ServerAcceptor, ServerBuilder, ServerSettings};
pub use snapshot::{
    IssuerFault, Judged, PartRef, Parts, RootsFault, SignerFault, Snapshot, SnapshotFault, SnapshotFile,
    Trusted, WalkedRoots,
};
#[cfg(feature = "http")]
pub use source::{
    BundleEndpoint, CaAddress, CaAddressError, CaLink, EndpointHandle, EndpointHealth, EndpointUrl,
    EndpointUrlError, WebRoots, WebRootsError,
};
pub use source::{
    BundleFileError, Counts, LiveTrust, LiveTrustError, LiveTrustSettings, Offered, TrustHealth, TrustState,
    follow_bundle_file, follow_identity_files, offer_bundle_file,
};
#[cfg(feature = "workload-api")]
pub use source::{WorkloadApi, WorkloadApiError};
pub use staleness::HardLimit;
pub use svid::{SvidVerifier, Usage};
#[cfg(feature = "tokens")]
pub use token::{
    AccessToken, ApiKey, Binding, Challenge, ClientProof, ForeignIssuer, ForeignKeys, Introspection,
    JwkSetError, KnownBy, Members, ResourceError, ResourceServer, ResourceSettings, SignedBy, TokenRefusal,
    Unrecognised, Visitor,
};
pub use trust::{Anchors, TrustError, TrustStore};
pub use typed::{NamedPermission, inventory};
pub use vigil::{OnLoss, Vigil};
#[cfg(feature = "tower")]
pub use web::{Allowed, Introduce, Introduced, NotAllowed, PeerRequired, Require, Required};
#[cfg(all(feature = "tower", feature = "tokens"))]
pub use web::{Recognise, Recognising};

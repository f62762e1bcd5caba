//! For services: know the peer by its SPIFFE certificate.
mod authority;
mod client;
mod clock;
mod door;
mod leaf;
mod own;
mod peer;
mod pem;
mod pinned;
mod provider;
mod refusal;
mod revocation;
mod rule;
#[cfg(feature = "axum")]
mod serve;
mod server;
mod svid;
mod tls;
mod trust;
mod verdict;

pub use client::{ClientBuilder, ClientConnector, ClientSettings, ConnectError};
pub use clock::SystemClock;
pub use door::{FrontDoor, Presented};
pub use own::{OwnIdentity, SetupError};
pub use peer::{ExpiredPeer, PeerFacts, VerifiedPeer};
pub use pem::{PemError, bundle_from_pem, certificates_from_pem};
pub use provider::provider;
pub use refusal::{AuthorityRule, ChainFault, LeafRule, NotSpiffe, Refusal};
pub use revocation::Revocation;
pub use rule::{DangerousRules, PeerRule};
#[cfg(feature = "axum")]
pub use serve::{Admission, Arrival, Limits, PeerRequired, Wire, axum_serve, serve_connections};
pub use server::{AcceptError, HANDSHAKE_TIMEOUT, ServerAcceptor, ServerBuilder, ServerSettings};
pub use svid::{SvidVerifier, Usage};
pub use trust::{Anchors, TrustError, TrustStore};

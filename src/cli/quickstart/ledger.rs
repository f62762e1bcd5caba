//! The quickstart's service: a ledger that knows its callers by certificate and asks the policy what they may.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{Router, http::StatusCode, routing::get};
use countersign_verifier::{
    ArcSwap, Gate, OwnIdentity, PeerRule, Policy, ServerBuilder, SystemClock, TrustDomain, TrustStore,
    VerifiedPeer, axum_serve_gated, bundle_from_pem,
};
use tokio::net::TcpListener;

use crate::cli::CliError;

/// A service, listening.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Where.
    pub(super) address: SocketAddr,
    identity: Arc<OwnIdentity>,
}

impl Ledger {
    /// Serves with the identity in `dir`, letting in the trust domain's members as far as `policy` goes.
    pub(super) async fn start(
        dir: &Path,
        trust_domain: &TrustDomain,
        policy: &str,
    ) -> Result<Self, CliError> {
        let identity =
            OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key")).map_err(CliError::failed)?;
        let roots = std::fs::read(dir.join("bundle.pem")).map_err(CliError::failed)?;
        let roots = bundle_from_pem(trust_domain.clone(), &roots).map_err(CliError::failed)?;
        let trust = Arc::new(TrustStore::new([roots]).map_err(CliError::failed)?);
        let acceptor = ServerBuilder::new(Arc::clone(&identity), trust)
            .admit(PeerRule::trust_domain(trust_domain.clone()))
            .build()
            .map_err(CliError::failed)?;
        let policy = Policy::parse(policy, "policy.toml").map_err(CliError::failed)?;
        let gate = Gate::new(Arc::new(ArcSwap::from_pointee(policy)), Arc::new(SystemClock));
        let router = router(&gate)?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(CliError::failed)?;
        let address = listener.local_addr().map_err(CliError::failed)?;
        tokio::spawn(axum_serve_gated(listener, acceptor, gate, router, std::future::pending()));
        Ok(Self { address, identity })
    }

    /// Takes up a renewed certificate; connections that stand go on.
    pub(super) fn take_up(&self, dir: &Path) -> Result<(), CliError> {
        self.identity.replace_from_files(dir.join("svid.pem"), dir.join("svid.key")).map_err(CliError::failed)
    }
}

fn router(gate: &Gate) -> Result<Router, CliError> {
    let permission = |text: &str| text.parse().map_err(CliError::failed);
    let read = get(async |peer: VerifiedPeer| format!("3 entries, shown to {}\n", peer.spiffe_id()));
    let write = axum::routing::post(async |peer: VerifiedPeer| {
        (StatusCode::CREATED, format!("entry written by {}\n", peer.spiffe_id()))
    });
    Ok(Router::new()
        .route("/entries", read.route_layer(gate.require(permission("ledger:read")?)))
        .route("/entries", write.route_layer(gate.require(permission("ledger:write")?))))
}

//! The quickstart's service: a ledger that knows its callers by certificate and asks the policy what they may.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use countersign_verifier::{
    Gate, LiveTrust, OwnIdentity, PeerRule, ServerBuilder, TrustDomain, VerifiedPeer, axum_serve_gated,
    bundle_from_pem,
};
use tokio::{net::TcpListener, time::timeout};

use crate::cli::CliError;

/// The CA is a process on the same machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A service, listening.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Where.
    pub(super) address: SocketAddr,
    identity: Arc<OwnIdentity>,
}

impl Ledger {
    /// Serves with the identity in `dir`, letting in the trust domain's members as far as the CA's policy goes, and
    /// nobody whom the CA at `url` has revoked.
    pub(super) async fn start(dir: &Path, trust_domain: &TrustDomain, url: &str) -> Result<Self, CliError> {
        let identity =
            OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key")).map_err(CliError::failed)?;
        let trust = follow(dir, trust_domain, url, &identity).await?;
        let acceptor = ServerBuilder::new(Arc::clone(&identity), trust.store())
            .admit(PeerRule::trust_domain(trust_domain.clone()))
            .build()
            .map_err(CliError::failed)?;
        let gate = trust.gate();
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

/// Trust and policy as the CA publishes them, from now on.
async fn follow(
    dir: &Path,
    trust_domain: &TrustDomain,
    url: &str,
    identity: &Arc<OwnIdentity>,
) -> Result<LiveTrust, CliError> {
    let roots = std::fs::read(dir.join("bundle.pem")).map_err(CliError::failed)?;
    let roots = bundle_from_pem(trust_domain.clone(), &roots).map_err(CliError::failed)?;
    let trust = LiveTrust::anchored(roots).kept_in(dir.join("trust")).open().map_err(CliError::failed)?;
    let ca = url.parse().map_err(CliError::failed)?;
    tokio::spawn(trust.clone().follow_ca(ca, Some(Arc::clone(identity))));
    timeout(PATIENCE, trust.ready()).await.map_err(|_| CliError::failed("no trust snapshot in time"))?;
    Ok(trust)
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

//! Proof of use: a certificate that is on disk is not yet one that is served. After a reload the agent looks, as a client
//! would, and tells the CA what it saw.

use std::sync::Arc;
use std::time::Duration;

use countersign_api::{DeployedRequest, paths};
use countersign_identity::{Clock, TrustBundle};
use countersign_verifier::{ClientBuilder, ConnectError, PeerRule, TrustStore, bundle_from_pem};
use tokio::net::TcpStream;

use crate::as_machine::AsMachine;
use crate::error::AgentError;
use crate::generation;
use crate::identity::Identity;

/// How often it is looked, each time after twice the pause, before the service is told again: a good one has taken the
/// certificate up within these seven and a half seconds, and a signal that came while it was reloading may be lost.
const LOOKS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// To connect and shake hands.
const LIMIT: Duration = Duration::from_secs(5);

/// What came of looking.
pub(crate) enum Proof {
    /// The certificate is served, and the CA knows.
    Served,
    /// Another one is: its serial.
    NotTakenUp(String),
}

/// Looks until the certificate of `identity` is served at `address`, then tells the CA.
///
/// # Errors
/// When nothing could be seen, or the CA cannot be told.
pub(crate) async fn prove(
    machine: &AsMachine,
    identity: &Identity,
    address: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Proof, AgentError> {
    let mut seen = Err(AgentError::failed(format!("nobody looked at {address}")));
    for look in 0..LOOKS {
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(look)).await;
        seen = serial_at(identity, address, clock).await;
        if seen.as_ref().is_ok_and(|serial| *serial == identity.serial().to_string()) {
            let request =
                DeployedRequest { serial: identity.serial().to_string(), address: address.to_owned() };
            machine.post::<_, Option<serde_json::Value>>(paths::DEPLOYED, &request).await?;
            return Ok(Proof::Served);
        }
    }
    seen.map(Proof::NotTakenUp)
}

/// The serial of the certificate that is served, by a handshake that our own verifier judges.
async fn serial_at(identity: &Identity, address: &str, clock: &Arc<dyn Clock>) -> Result<String, AgentError> {
    let unproven = |what: &dyn std::fmt::Display| AgentError::failed(format!("{address}: {what}"));
    let path = identity.home().join(generation::BUNDLE);
    let pem = std::fs::read(&path).map_err(|error| AgentError::file("read", &path, &error))?;
    let bundle: TrustBundle =
        bundle_from_pem(identity.spiffe_id().trust_domain(), &pem).map_err(|e| unproven(&e))?;
    let trust = Arc::new(TrustStore::new([bundle]).map_err(|error| unproven(&error))?);
    let connector = ClientBuilder::new(trust)
        .expect(PeerRule::one_of([identity.spiffe_id().clone()]))
        .identity(identity.own().map_err(|error| unproven(&error))?)
        .clock(Arc::clone(clock))
        .build()
        .map_err(|error| unproven(&error))?;
    let look = async {
        let tcp = TcpStream::connect(address).await.map_err(ConnectError::Handshake)?;
        connector.connect(tcp).await
    };
    match tokio::time::timeout(LIMIT, look).await {
        Ok(Ok((_, peer))) => Ok(peer.serial_hex()),
        Ok(Err(error)) => Err(unproven(&error)),
        Err(_) => Err(unproven(&"no answer within 5 s")),
    }
}

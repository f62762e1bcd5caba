//! A CA elsewhere: admin commands over mutual TLS, as an identity that its policy allows (DESIGN §6).

use std::{path::Path, sync::Arc, time::Duration};

use countersign_identity::{SpiffeId, TrustBundle};
use countersign_verifier::{ClientBuilder, ClientConnector, ConnectError, OwnIdentity, PeerRule, TrustStore};
use tokio::{net::TcpStream, time::timeout};

use super::{CliError, Client, endpoint::HostPort, own::Own};

/// How long connecting may take, and the handshake after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the CA at `door` as the machine whose files are in `dir`, and to no other: the CA is known by the roots in
/// `bundle.pem` and by its SPIFFE ID; the host name only says where to connect.
pub(crate) fn connect(door: &HostPort, dir: &Path) -> Result<Client, CliError> {
    let connector = connector(dir)?;
    let place = format!("https://{door}");
    let unreachable = |error: &dyn std::fmt::Display| {
        CliError::unreachable(format_args!("no CA at {place}: {error}"))
            .hint("is `countersign serve` running there, and does its `listen` accept from here?")
    };
    Client::over(place.clone(), door.to_string(), async {
        let tcp = timeout(PATIENCE, TcpStream::connect((door.host(), door.port())));
        let tcp = tcp.await.map_err(|_| unreachable(&"it did not answer within 10 s"))?;
        let tcp = tcp.map_err(|error| unreachable(&error))?;
        let connected = timeout(PATIENCE, connector.connect(tcp)).await;
        let stream = connected.map_err(|_| unreachable(&"the handshake was not done within 10 s"))?;
        stream.map(|(stream, _ca)| stream).map_err(|error| match error {
            ConnectError::Refused(why) => CliError::refused(format_args!("{place} is not this CA: {why}"))
                .hint(format_args!("`countersign inspect {door} --as {}` says more", dir.display())),
            other => unreachable(&other),
        })
    })
}

fn connector(dir: &Path) -> Result<ClientConnector, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::failed(format_args!("cannot act as {}: {error}", dir.display()))
    };
    let own = Own::read(dir)?;
    let id = own.leaf.spiffe_id.as_deref().and_then(|id| id.parse::<SpiffeId>().ok());
    let domain = id.ok_or_else(|| failed(&"its certificate has no SPIFFE ID"))?.trust_domain();
    let ca = domain.with_path("/countersign/ca").map_err(|error| failed(&error))?;
    let roots = own.roots.iter().map(|root| root.to_vec()).collect();
    let trust = TrustStore::new([TrustBundle::new(domain, roots)]).map_err(|error| failed(&error))?;
    let identity = OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key"));
    ClientBuilder::new(Arc::new(trust))
        .expect(PeerRule::one_of([ca]))
        .identity(identity.map_err(|error| failed(&error))?)
        .alpn(&["http/1.1"])
        .build()
        .map_err(|error| failed(&error))
}

//! The TLS settings every connection shares: TLS 1.3 only, nothing resumed, time from the injected clock.

use std::sync::Arc;

use countersign_identity::{Clock, Timestamp};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
#[cfg(feature = "http")]
use rustls::{RootCertStore, crypto::CryptoProvider};

use crate::own::SetupError;
use crate::svid::SvidVerifier;

/// A server that resumes nothing: a resumed session skips the verifier, so that a client revoked or dropped from the
/// bundle would come back in.
pub(crate) fn server_config(
    verifier: &SvidVerifier,
    clients: Arc<dyn ClientCertVerifier>,
    identity: Arc<dyn ResolvesServerCert>,
    alpn: Vec<Vec<u8>>,
) -> Result<Arc<ServerConfig>, SetupError> {
    let time = Arc::new(ClockTime(Arc::clone(verifier.clock())));
    let mut config = ServerConfig::builder_with_details(Arc::clone(verifier.provider()), time)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(identity);
    // The provider's order, not the client's: see `provider`.
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = alpn;
    Ok(Arc::new(config))
}

/// A client that resumes nothing and names no host: peers are known by SPIFFE ID.
pub(crate) fn client_config(
    verifier: &SvidVerifier,
    servers: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
    alpn: Vec<Vec<u8>>,
) -> Result<Arc<ClientConfig>, SetupError> {
    let time = Arc::new(ClockTime(Arc::clone(verifier.clock())));
    let builder = ClientConfig::builder_with_details(Arc::clone(verifier.provider()), time)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(servers);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = alpn;
    Ok(Arc::new(config))
}

/// A client that knows servers of the web by their host names, under these authorities, and shows them an identity where they ask
/// for one.
#[cfg(feature = "http")]
pub(crate) fn web_config(
    provider: &Arc<CryptoProvider>,
    clock: &Arc<dyn Clock>,
    roots: Arc<RootCertStore>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<Arc<ClientConfig>, SetupError> {
    let builder =
        ClientConfig::builder_with_details(Arc::clone(provider), Arc::new(ClockTime(Arc::clone(clock))))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Our clock in the shape rustls asks for.
#[derive(Debug)]
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now().since(Timestamp::from_unix(0))))
    }
}

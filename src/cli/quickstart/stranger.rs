//! The quickstart's villain: a CA that calls itself by the same trust domain, and knows nobody's keys.

use std::{net::SocketAddr, sync::Arc};

use countersign_verifier::{OwnIdentity, SpiffeId, provider};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{ServerConfig, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cli::CliError;

/// A root of its own.
pub(super) struct Stranger {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// A certificate and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Stranger {
    /// Makes it.
    pub(super) fn new() -> Result<Self, CliError> {
        let key = KeyPair::generate().map_err(CliError::failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Countersign root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).map_err(CliError::failed)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), root })
    }

    /// A certificate with any name it likes.
    pub(super) fn certify(&self, id: &SpiffeId) -> Result<Pair, CliError> {
        let key = KeyPair::generate().map_err(CliError::failed)?;
        let mut params = CertificateParams::default();
        let uri = id.to_string().try_into().map_err(CliError::failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &self.issuer).map_err(CliError::failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![leaf.der().clone(), self.root.clone()], key))
    }

    /// The same as an identity a client can show.
    pub(super) fn identity(&self, id: &SpiffeId) -> Result<Arc<OwnIdentity>, CliError> {
        let (chain, key) = self.certify(id)?;
        OwnIdentity::new(chain, key).map_err(CliError::failed)
    }

    /// Listens as if it were the CA, and shakes hands with whoever comes.
    pub(super) async fn listen(&self, as_ca: &SpiffeId) -> Result<SocketAddr, CliError> {
        let (chain, key) = self.certify(as_ca)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(CliError::failed)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(CliError::failed)?;
        let address = listener.local_addr().map_err(CliError::failed)?;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // The caller hangs up when it sees whom it reached.
                let _ = acceptor.accept(socket).await;
            }
        });
        Ok(address)
    }
}

//! TLS as the CA speaks it: version 1.3 only, X25519MLKEM768 first, no resumption; and its crypto provider.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::Signer,
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, SignatureVerificationAlgorithm, alg_id, pem::PemObject as _,
};
use x509_parser::extensions::GeneralName;

use crate::pem;

/// The provider everything here uses; its first key-exchange group is X25519MLKEM768.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The check of an ECDSA P-256 SHA-256 signature: one V.
///
/// # Errors
/// If the provider has lost it.
pub fn p256_verification() -> Result<&'static dyn SignatureVerificationAlgorithm> {
    let all = provider().signature_verification_algorithms.all;
    all.iter()
        .find(|a| a.public_key_alg_id() == alg_id::ECDSA_P256 && a.signature_alg_id() == alg_id::ECDSA_SHA256)
        .copied()
        .context("the provider does not verify ECDSA P-256")
}

/// A P-256 signing key from PKCS#8 PEM.
///
/// # Errors
/// If the key is of another kind.
pub fn p256_signer(key: &str) -> Result<Box<dyn Signer>> {
    let key = provider().key_provider.load_private_key(private_key(key)?)?;
    key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).context("the key is not a P-256 key")
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).context("found no private key in the PEM text")
}

/// The trust anchors of a PEM bundle.
///
/// # Errors
/// If the bundle is not PEM or holds something that is no certificate.
pub fn roots(bundle: &str) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for root in pem::certificates(bundle)? {
        roots.add(root)?;
    }
    Ok(Arc::new(roots))
}

/// A server that demands a client certificate and walks its path to the root by webpki.
///
/// # Errors
/// If chain and key do not belong together.
pub fn server(bundle: &str, chain: &str, key: &str) -> Result<ServerConfig> {
    let provider = provider();
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots(bundle)?, Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(pem::certificates(chain)?, private_key(key)?)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A client, with a certificate of its own or without. `roots` is shared: thousands of these exist at once.
///
/// # Errors
/// If chain and key do not belong together.
pub fn client(roots: &Arc<RootCertStore>, identity: Option<(&str, &str)>) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(Arc::clone(roots));
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(pem::certificates(chain)?, private_key(key)?)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The SPIFFE ID a certificate carries.
///
/// # Errors
/// If it carries none.
pub fn spiffe_id(leaf: &CertificateDer<'_>) -> Result<String> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf)?;
    let names = leaf.subject_alternative_name()?.context("no subject alternative name")?;
    let uri = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    uri.context("no URI among the subject alternative names")
}

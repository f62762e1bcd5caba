//! The cryptography behind TLS: which provider, and which key exchanges it offers.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, DigitallySignedStruct, SignatureScheme};

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("enable one of the features `aws-lc-rs` (default) and `ring`: TLS needs a provider");

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(build()));

/// The provider this crate uses where the caller names none: aws-lc-rs with X25519MLKEM768 preferred, or ring where
/// only the feature `ring` is on (no post-quantum key exchange there).
///
/// It is handed around by value and never installed as the process default: a library must not decide that.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

#[cfg(feature = "aws-lc-rs")]
fn build() -> CryptoProvider {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    // The hybrid first: what is recorded today stays closed to a quantum computer of tomorrow.
    let kx_groups =
        vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    CryptoProvider { kx_groups, ..quickest_hash_first(default_provider()) }
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn build() -> CryptoProvider {
    quickest_hash_first(rustls::crypto::ring::default_provider())
}

/// `TLS13_AES_128_GCM_SHA256` first, the one suite every TLS 1.3 peer has (RFC 8446 §9.1). The key schedule is some
/// twenty hashes a handshake, and processors that compute SHA-256 in hardware rarely do SHA-384.
fn quickest_hash_first(mut provider: CryptoProvider) -> CryptoProvider {
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// Proof of possession: the peer signed this handshake with the key of the certificate it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Possession(WebPkiSupportedAlgorithms);

impl Possession {
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }

    pub(crate) fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    pub(crate) fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    /// TLS 1.2 is not offered, so a peer that gets here broke the protocol.
    pub(crate) fn no_tls12() -> rustls::Error {
        rustls::Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "aws-lc-rs")]
    fn the_hybrid_key_exchange_is_offered_first() {
        let first = provider().kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn the_suite_every_peer_has_is_offered_first() {
        let first = provider().cipher_suites.first().map(|suite| suite.suite());
        assert_eq!(first, Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
    }

    #[test]
    fn asking_for_the_provider_installs_nothing_in_the_process() {
        let _provider = provider();
        assert!(CryptoProvider::get_default().is_none());
    }
}

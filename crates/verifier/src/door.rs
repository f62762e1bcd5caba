//! The front door: asks for a client certificate, lets everybody finish the handshake, judges afterwards.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use crate::own::{OwnIdentity, SetupError};
use crate::peer::VerifiedPeer;
use crate::provider::Possession;
use crate::refusal::Refusal;
use crate::svid::{SvidVerifier, Usage};
use crate::tls;

/// What a client presented at a [`FrontDoor`].
#[derive(Clone, Debug)]
pub enum Presented {
    /// No certificate.
    None,
    /// A certificate good in everything.
    Verified(VerifiedPeer),
    /// A certificate that proves nothing, and why.
    Refused(Refusal),
}

/// A TLS server that asks for a client certificate, never demands one, and completes the handshake on proof of
/// possession alone.
///
/// For the few servers that must *answer* a peer with a bad certificate, as a certificate authority must tell an agent
/// by how much its clock is off: a TLS alert cannot. Nothing is proven until [`judge`](FrontDoor::judge) says so.
#[derive(Clone, Debug)]
pub struct FrontDoor {
    verifier: SvidVerifier,
}

impl FrontDoor {
    /// A door that judges with this verifier.
    #[must_use]
    pub const fn new(verifier: SvidVerifier) -> Self {
        Self { verifier }
    }

    /// The TLS settings: TLS 1.3 only, no resumption, `h2` and `http/1.1`.
    ///
    /// # Errors
    /// When the provider does not support TLS 1.3.
    pub fn config(&self, identity: Arc<OwnIdentity>) -> Result<Arc<ServerConfig>, SetupError> {
        let ask = Ask { possession: Possession::new(self.verifier.provider()) };
        let alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tls::server_config(&self.verifier, Arc::new(ask), identity, alpn)
    }

    /// Judges what the client presented: once per connection, and again whenever time or trust may have moved.
    #[must_use]
    pub fn judge(&self, certificates: Option<&[CertificateDer<'_>]>) -> Presented {
        let Some(chain) = certificates.filter(|chain| !chain.is_empty()) else { return Presented::None };
        match self.verifier.verify(chain, Usage::Client) {
            Ok(peer) => Presented::Verified(peer),
            Err(refusal) => Presented::Refused(refusal),
        }
    }
}

/// Checks proof of possession and leaves every other question to the judge.
#[derive(Debug)]
struct Ask {
    possession: Possession,
}

impl ClientCertVerifier for Ask {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Possession::no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.possession.check(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.possession.schemes()
    }
}

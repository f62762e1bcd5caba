//! The verifier inside rustls for clients that must be admitted.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::outcome;
use crate::peer::VerifiedPeer;
use crate::provider::Possession;
use crate::refusal::Refusal;
use crate::report::Reporter;
use crate::rule::PeerRule;
use crate::svid::{SvidVerifier, Usage};
use crate::verdict;

/// Judges each client certificate by path, rules and peer rule, and leaves the verdict for whoever awaits the handshake.
#[derive(Debug)]
pub(crate) struct StrictDoor {
    pub(crate) verifier: SvidVerifier,
    pub(crate) rule: PeerRule,
    pub(crate) possession: Possession,
    pub(crate) reporter: Option<Reporter>,
    /// Whether a client without a certificate is let in, as nobody.
    pub(crate) optional: bool,
}

impl StrictDoor {
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedPeer, Refusal> {
        self.verifier.verify(chain, Usage::Client).and_then(|peer| self.rule.check(peer))
    }
}

impl ClientCertVerifier for StrictDoor {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Bundles are replaced while this lives; a client with one identity needs no hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let verdict = self.judge(&chain);
        outcome::authentication(&verdict, self.reporter.as_ref());
        let answer = verdict.as_ref().map(|_| ClientCertVerified::assertion()).map_err(Refusal::to_tls);
        verdict::leave(verdict);
        answer
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

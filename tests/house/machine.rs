//! A machine that speaks to the CA by hand, so that it can misbehave.

use countersign_api::CertificateResponse;
use countersign_testkit::{KeyPair, csr};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    ca::Ca,
    wire::{self, Answer, Papers},
};

/// What a machine holds.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) papers: Papers,
    pub(crate) key: KeyPair,
    pub(crate) response: CertificateResponse,
}

impl Machine {
    /// Enrolls as `/path` with a new invitation.
    #[track_caller]
    pub(crate) fn enrolled(ca: &Ca, path: &str) -> Self {
        let key = csr::p256();
        let answer = enroll(ca, &ca.invite(path, &[]), &csr::plain(&key));
        Self::from(&answer, key)
    }

    /// The machine that an answer makes of a key.
    #[track_caller]
    pub(crate) fn from(answer: &Answer, key: KeyPair) -> Self {
        let response: CertificateResponse = answer.json();
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(response.chain.as_bytes()).map(Result::unwrap).collect();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Self { papers: Papers { chain, key: private }, key, response }
    }

    /// Asks for the next certificate with this request.
    #[track_caller]
    pub(crate) fn renew_with(&self, ca: &Ca, request: &[u8]) -> Answer {
        wire::post(ca.listen(), Some(&self.papers), "/v1/renew", &json!({ "csr": csr::to_pem(request) }))
    }

    /// Asks for the next certificate with a new key.
    #[track_caller]
    pub(crate) fn ask_renewal(&self, ca: &Ca) -> Answer {
        self.renew_with(ca, &csr::plain(&csr::p256()))
    }

    /// What this machine is after a renewal.
    #[track_caller]
    pub(crate) fn renewed(&self, ca: &Ca) -> Self {
        let key = csr::p256();
        Self::from(&self.renew_with(ca, &csr::plain(&key)), key)
    }

    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        self.papers.chain.first().unwrap()
    }

    /// The certificate's serial as `issued list` shows it.
    pub(crate) fn serial(&self) -> String {
        serial_of(self.leaf())
    }
}

/// The serial of a certificate in lower-case hex.
pub(crate) fn serial_of(certificate: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let octets = certificate.tbs_certificate.raw_serial();
    octets.iter().skip_while(|octet| **octet == 0).map(|octet| format!("{octet:02x}")).collect()
}

/// Redeems an invitation with a request.
#[track_caller]
pub(crate) fn enroll(ca: &Ca, invitation: &str, request: &[u8]) -> Answer {
    let body = json!({ "invitation": invitation, "csr": csr::to_pem(request) });
    wire::post(ca.listen(), None, "/v1/enroll", &body)
}

//! The CA's answer, judged before anything of it is published.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_api::CertificateResponse;
use countersign_identity::{Clock, MachineId, SpiffeId, Timestamp, TrustBundle, TrustDomain, Validity};
use countersign_verifier::{
    OwnIdentity, SvidVerifier, TrustStore, Usage, VerifiedPeer, certificates_from_pem, provider,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::endpoint::Endpoint;
use crate::error::AgentError;
use crate::generation::Publication;
use crate::identity::{Identity, Pin, Window};
use crate::outputs::Outputs;
use crate::pending::PendingKey;
use crate::refusal::skew;
use crate::roots::Roots;

/// An answer that our own verifier accepts: for our key, under the pinned root, in its time.
pub(crate) struct Accepted {
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    peer: VerifiedPeer,
    machine: MachineId,
    window: Window,
}

impl Accepted {
    /// Judges an answer by what this machine knew before it asked.
    pub(crate) fn judge(
        answer: &CertificateResponse,
        key: &PendingKey,
        roots: &Roots,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, AgentError> {
        let now = clock.now();
        let skew = answer.server_time.parse().ok().and_then(|server| skew(server, now));
        let refuse = |what: String| {
            let error = AgentError::refused(format!("the CA's answer is not published: {what}"));
            match &skew {
                Some(skew) => error.with_hint(skew.clone()),
                None => error,
            }
        };
        let chain = certificates_from_pem(answer.chain.as_bytes())
            .map_err(|error| refuse(format!("its certificate chain is {error}")))?;
        let domain = &roots.pin().trust_domain;
        let roots = roots.of_answer(&answer.bundle).map_err(&refuse)?;
        let peer = verify(&chain, &roots, domain, clock).map_err(&refuse)?;
        if peer.spiffe_id().is_reserved() {
            return Err(refuse(format!("{} is reserved for the CA itself", peer.spiffe_id())));
        }
        belongs(&chain, &peer, key).map_err(&refuse)?;
        let machine = answer.machine.parse().map_err(|error| refuse(format!("{error}")))?;
        let window = window(answer, peer.validity());
        if let Some(skew) = skew {
            tracing::warn!("{skew}: correct it, or certificates will seem invalid");
        }
        Ok(Self { chain, roots, peer, machine, window })
    }

    /// The same identity as before, or a refusal: a renewal changes times and key, never who the machine is.
    pub(crate) fn continues(self, before: &Identity) -> Result<Self, AgentError> {
        self.names(before.spiffe_id())
    }

    /// The identity that was asked for, or a refusal.
    pub(crate) fn names(self, expected: &SpiffeId) -> Result<Self, AgentError> {
        if self.peer.spiffe_id() != expected {
            return Err(AgentError::refused(format!(
                "the CA's answer is not published: it names {}, expected {expected}",
                self.peer.spiffe_id(),
            )));
        }
        Ok(self)
    }

    /// Nobody else's identity, or a refusal: the valid one of another SPIFFE ID gives way to an operator's word only.
    pub(crate) fn replaces(&self, standing: &Identity) -> Result<(), AgentError> {
        let (new, old) = (self.peer.spiffe_id(), standing.spiffe_id());
        if new == old {
            return Ok(());
        }
        let error = AgentError::refused(format!(
            "the invitation is for {new}, and the directory holds the valid identity {old}: not published"
        ));
        Err(error.with_hint(format!(
            "the same command with --replace goes on with the key on disk and puts {new} in its place; for both, take a new invitation and another --dir"
        )))
    }

    /// Everything a generation holds.
    pub(crate) fn publication(
        &self,
        key: &PendingKey,
        pin: &Pin,
        url: &Endpoint,
        redeemed: Option<String>,
    ) -> Result<Publication<'_>, AgentError> {
        let serial = self.peer.serial().ok_or_else(|| {
            AgentError::refused(
                "the CA's answer is not published: its serial number is longer than 18 octets",
            )
        })?;
        Ok(Publication {
            chain: &self.chain,
            roots: &self.roots,
            key: key.pem(),
            outputs: Outputs::default(),
            identity: Identity {
                home: PathBuf::new(),
                machine: self.machine,
                spiffe_id: self.peer.spiffe_id().clone(),
                serial,
                validity: self.peer.validity(),
                window: self.window,
                url: url.clone(),
                pin: pin.clone(),
                redeemed,
            },
        })
    }
}

/// By the same verifier that services use: first as a client, then as a server.
pub(crate) fn verify(
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    domain: &TrustDomain,
    clock: &Arc<dyn Clock>,
) -> Result<VerifiedPeer, String> {
    let bundle = TrustBundle::new(domain.clone(), roots.iter().map(|root| root.to_vec()).collect());
    let trust = TrustStore::new([bundle]).map_err(|error| error.to_string())?;
    let verifier = SvidVerifier::new(provider(), Arc::new(trust), Arc::clone(clock));
    verifier.verify(chain, Usage::Client).map_err(|refusal| refusal.to_string())?;
    verifier.verify(chain, Usage::Server).map_err(|refusal| refusal.to_string())
}

/// The certificate is for the key we made, and TLS can use the two together.
fn belongs(chain: &[CertificateDer<'static>], peer: &VerifiedPeer, key: &PendingKey) -> Result<(), String> {
    if peer.key_hash() != key.hash() {
        return Err(format!("it is for the key {}, expected our key {}", peer.key_hash(), key.hash()));
    }
    let der = PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).map_err(|error| error.to_string())?;
    OwnIdentity::new(chain.to_vec(), der).map(drop).map_err(|error| error.to_string())
}

/// The renewal window of the answer. One that cannot be, as from a CA with a broken profile, is no reason to go
/// without a certificate: then the window is where it is by default, from a third to half of the life.
fn window(answer: &CertificateResponse, validity: Validity) -> Window {
    let asked =
        answer.renew_after.parse::<Timestamp>().ok().zip(answer.renew_before.parse::<Timestamp>().ok());
    match asked {
        Some((after, before)) if after <= before && validity.contains(before) => Window { after, before },
        _ => {
            tracing::warn!(
                renew_after = answer.renew_after,
                renew_before = answer.renew_before,
                "the CA's renewal window lies outside the certificate's life, using a third to half of it"
            );
            let (start, life) = (validity.not_before(), validity.lifetime());
            Window { after: start + life / 3, before: start + life / 2 }
        }
    }
}

//! The roots this machine believes: the one that its invitation pinned, or what roots documents have made of it since.
//!
//! The documents lie in the machine's directory and are walked from the pin each time: nothing but a signature of a root
//! changes what is believed, and the disk is no authority (DESIGN §4, invariants 9 and 11).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use countersign_api::RootsResponse;
use countersign_verifier::{WalkedRoots, certificates_from_pem, provider};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use crate::durable;
use crate::error::AgentError;
use crate::identity::Pin;
use crate::lock;

const FILE: &str = "roots.json";
const LOCK: &str = ".roots.lock";

/// The roots of one CA, as this machine knows them.
#[derive(Debug)]
pub(crate) struct Roots {
    pin: Pin,
    home: PathBuf,
    walked: Mutex<Option<WalkedRoots>>,
}

impl Roots {
    /// What the documents in the machine's directory make of the pin.
    pub(crate) fn held(home: &Path, pin: &Pin) -> Result<Self, AgentError> {
        let walked = Mutex::new(remembered(home, pin)?);
        Ok(Self { pin: pin.clone(), home: home.to_owned(), walked })
    }

    /// The CA that the machine was sent to.
    pub(crate) const fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The version of the last document walked; 0 before the first.
    #[cfg(feature = "workload-api")]
    pub(crate) fn version(&self) -> u64 {
        self.known().map_or(0, |walked| walked.version())
    }

    /// The fingerprints of the roots.
    pub(crate) fn fingerprints(&self) -> Vec<[u8; 32]> {
        match self.certificates() {
            Some(roots) => roots.iter().map(fingerprint).collect(),
            None => vec![self.pin.root_sha256],
        }
    }

    /// The roots, once a document was walked: until then only a fingerprint is known.
    pub(crate) fn certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        let walked = self.known()?;
        Some(walked.bundle().roots().iter().map(|root| CertificateDer::from(root.clone())).collect())
    }

    /// The roots to judge an answer by, which brought this bundle: what is known; before the first document the pinned one,
    /// if it is there. Others are left out: an answer cannot add a root (invariant 11).
    pub(crate) fn of_answer(&self, bundle: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        if let Some(known) = self.certificates() {
            return Ok(known);
        }
        let roots = certificates_from_pem(bundle.as_bytes())
            .map_err(|error| format!("its trust bundle is {error}"))?;
        let count = roots.len();
        let pinned = roots.into_iter().find(|root| fingerprint(root) == self.pin.root_sha256);
        let missing = || format!("none of its {count} roots is the pinned root {}", self.pin.fingerprint());
        Ok(vec![pinned.ok_or_else(missing)?])
    }

    /// Whether a bundle holds other roots than are known here: a reason to ask for the roots documents, and no more.
    pub(crate) fn differ_from(&self, bundle: &str) -> bool {
        let Ok(told) = certificates_from_pem(bundle.as_bytes()) else { return false };
        let (mut told, mut known): (Vec<_>, _) =
            (told.iter().map(fingerprint).collect(), self.fingerprints());
        told.sort_unstable();
        known.sort_unstable();
        told != known
    }

    /// Walks on by the CA's documents; what they lead to is on disk when this returns.
    pub(crate) fn walk(&self, told: &RootsResponse) -> Result<(), AgentError> {
        let _lock = lock::take(&self.home.join(LOCK), || {
            AgentError::failed("another countersign-agent walks the roots documents at this moment")
        })?;
        let held = remembered(&self.home, &self.pin)?;
        let next = match &held {
            Some(held) => held.walk(&told.documents, &provider()),
            None => from_pin(&self.pin, told),
        };
        let next = next.map_err(|fault| {
            AgentError::refused(format!("the CA's roots documents are refused: {fault}"))
                .with_hint("the roots known before stay; tell whoever keeps the CA")
        })?;
        if held.as_ref() != Some(&next) {
            let text = serde_json::to_vec(&self.whole(told, &next)?)
                .map_err(|error| AgentError::failed(format!("cannot write {FILE}: {error}")))?;
            durable::replace(&self.home.join(FILE), &text, durable::PUBLIC)?;
            let roots = next.bundle().roots().len();
            tracing::info!(version = next.version(), roots, "the roots of the CA, by its roots documents");
        }
        *self.walked.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok(())
    }

    /// The documents that lead from the pin to `next`: those told, behind those on disk where a server told the last ones
    /// only. What does not lead there from the pin is never written: at the next start the pin would be all there is, and a
    /// root that was retired would count again (invariant 9).
    fn whole(&self, told: &RootsResponse, next: &WalkedRoots) -> Result<RootsResponse, AgentError> {
        let mut documents = on_disk(&self.home)?.map(|held| held.documents).unwrap_or_default();
        let new: Vec<_> = told.documents.iter().filter(|one| !documents.contains(one)).cloned().collect();
        documents.extend(new);
        [told.clone(), RootsResponse { documents }]
            .into_iter()
            .find(|whole| from_pin(&self.pin, whole).is_ok_and(|walked| walked == *next))
            .ok_or_else(|| {
                AgentError::refused(
                    "the CA's roots documents leave some out between those known here and theirs",
                )
            })
    }

    fn known(&self) -> Option<WalkedRoots> {
        self.walked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn from_pin(pin: &Pin, told: &RootsResponse) -> Result<WalkedRoots, countersign_verifier::RootsFault> {
    WalkedRoots::from_pin(&pin.trust_domain, pin.root_sha256, &told.documents, &provider())
}

/// What was walked before. Documents that do not lead on from the pin are of another CA, which was here before, or damaged;
/// then the pin is all there is, and the CA is asked for them again.
fn remembered(home: &Path, pin: &Pin) -> Result<Option<WalkedRoots>, AgentError> {
    let Some(told) = on_disk(home)? else { return Ok(None) };
    Ok(from_pin(pin, &told).inspect_err(|why| tracing::debug!(file = FILE, %why, "not walked")).ok())
}

fn on_disk(home: &Path) -> Result<Option<RootsResponse>, AgentError> {
    let Some(text) = durable::read(&home.join(FILE))? else { return Ok(None) };
    let read = serde_json::from_slice(&text);
    Ok(read.inspect_err(|why| tracing::debug!(file = FILE, %why, "not read")).ok())
}

fn fingerprint(root: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(root).into()
}

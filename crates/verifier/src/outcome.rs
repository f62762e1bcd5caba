//! Outcomes: who was let in and who may what, each said to `tracing` under one target.
//!
//! Allowed is `DEBUG`, refused is `INFO`: a service that is asked much chooses by its subscriber what it keeps. A refusal
//! that is answered carries a reference to its line here, and says nothing else: details are for the service, not for the
//! peer.

use std::fmt;

use countersign_identity::hex;
use countersign_policy::Decision;

use crate::caller::Caller;
use crate::peer::{PeerFacts, VerifiedPeer};
use crate::refusal::Refusal;
use crate::report::{Note, Reporter};
#[cfg(feature = "tokens")]
use crate::token::{TokenRefusal, Unrecognised};

/// The target of every outcome.
const TARGET: &str = "countersign::outcome";

/// What a refused peer may tell its operator, so that the line in our log is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference([u8; 6]);

#[cfg(any(feature = "tower", feature = "tokens"))]
impl Reference {
    pub(crate) fn new() -> Self {
        let mut octets = [0; 6];
        // Two outcomes of the same reference are an annoyance, no danger.
        let _ = crate::provider().secure_random.fill(&mut octets);
        Self(octets)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

/// Says whether a peer was who it said.
pub(crate) fn authentication(verdict: &Result<VerifiedPeer, Refusal>, reporter: Option<&Reporter>) {
    match verdict {
        Ok(peer) => tracing::debug!(target: TARGET, peer = %peer.spiffe_id(), serial = peer.serial_hex(),
            until = %peer.not_after(), "authenticated"),
        Err(refusal) => {
            tracing::info!(target: TARGET, code = refusal.code(), reason = %refusal, "not authenticated")
        }
    }
    if let Some(reporter) = reporter {
        reporter.note(match verdict {
            Ok(peer) => Note::authenticated(peer),
            Err(refusal) => Note::refused(refusal, proven(refusal), None),
        });
    }
}

/// Says whether a token or an API key was accepted.
#[cfg(feature = "tokens")]
pub(crate) fn presented(verdict: &Result<Caller, TokenRefusal>, reporter: Option<&Reporter>) {
    match verdict {
        Ok(caller) => {
            tracing::debug!(target: TARGET, peer = %caller.spiffe_id(), by = ?caller.credential(), "authenticated");
        }
        Err(refusal) => {
            tracing::info!(target: TARGET, code = refusal.code(), reason = %refusal, "not authenticated");
        }
    }
    if let Some(reporter) = reporter {
        reporter.note(match verdict {
            Ok(caller) => Note::recognised(caller.spiffe_id()),
            Err(refusal) => Note::not_accepted(refusal.code(), None),
        });
    }
}

/// Says why nobody was recognised behind a request that is answered.
#[cfg(feature = "tokens")]
pub(crate) fn unrecognised(reason: &Unrecognised, reference: Reference, reporter: Option<&Reporter>) {
    let code = match reason {
        Unrecognised::Nothing => "authentication_required",
        Unrecognised::Ambiguous => "authorization_ambiguous",
        Unrecognised::Refused(refusal) => refusal.code(),
    };
    tracing::info!(target: TARGET, code, %reason, %reference, "not authenticated");
    if let Some(reporter) = reporter {
        reporter.note(Note::not_accepted(code, Some(reference)));
    }
}

/// Whom a refusal has proven nevertheless.
fn proven(refusal: &Refusal) -> Option<&PeerFacts> {
    match refusal {
        Refusal::Expired { peer, .. } => Some(peer),
        _ => None,
    }
}

/// Says what a caller may; `path` and `reference` where a request was answered.
pub(crate) fn authorization(
    caller: &Caller,
    decision: &Decision,
    path: Option<&str>,
    reference: Option<Reference>,
) {
    if let Some(reporter) = caller.gate().reporter() {
        let serial = caller.peer().map(|peer| peer.serial_hex());
        reporter.note(Note::decided(caller.spiffe_id().as_str(), serial, decision, reference));
    }
    let (peer, path) = (caller.spiffe_id(), path.unwrap_or_default());
    if decision.allowed {
        return tracing::debug!(target: TARGET, %peer, permission = %decision.permission, path,
            policy = decision.version.short(), "allowed");
    }
    let reference = reference.map(|reference| reference.to_string());
    tracing::info!(target: TARGET, %peer, permission = %decision.permission, path, reference,
        why = caller.why(decision), "not allowed");
}

/// Says that the peer of a live connection no longer stands.
pub(crate) fn lost(peer: &VerifiedPeer, refusal: &Refusal, reporter: Option<&Reporter>) {
    tracing::info!(target: TARGET, peer = %peer.spiffe_id(), serial = peer.serial_hex(), code = refusal.code(),
        reason = %refusal, "lost");
    if let Some(reporter) = reporter {
        reporter.note(Note::refused(refusal, Some(peer), None));
    }
}

/// Says that a request came over a connection whose peer no longer stands.
#[cfg(feature = "axum")]
pub(crate) fn refused_since_lost(
    peer: &VerifiedPeer,
    refusal: &Refusal,
    path: &str,
    reference: Reference,
    reporter: Option<&Reporter>,
) {
    tracing::info!(target: TARGET, peer = %peer.spiffe_id(), code = refusal.code(), reason = %refusal, path, %reference,
        "refused since lost");
    if let Some(reporter) = reporter {
        reporter.note(Note::refused(refusal, Some(peer), Some(reference)));
    }
}

//! What a vigil means for HTTP: a connection cut, requests refused, or a line in the log.

use std::future::pending;
use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use axum::response::Response;

use crate::outcome::{self, Reference};
use crate::peer::VerifiedPeer;
use crate::refusal::Refusal;
use crate::report::Reporter;
use crate::vigil::{OnLoss, Vigil};
use crate::web::Problem;

/// The guard of one connection; without a vigil it never ends.
#[derive(Debug)]
pub(super) struct Guard {
    watched: Option<(Vigil, OnLoss)>,
    lost: Lost,
}

/// Whose requests are refused and why, once they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Arc<OnceLock<LostPeer>>);

#[derive(Debug)]
struct LostPeer {
    peer: VerifiedPeer,
    refusal: Refusal,
    reporter: Option<Reporter>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At once.
    Cut,
    /// When the requests under way are done.
    Gently,
}

impl Guard {
    pub(super) fn new(watched: Option<(Vigil, OnLoss)>) -> Self {
        Self { watched, lost: Lost::default() }
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Waits until the connection must end for its peer's sake.
    pub(super) async fn over(&mut self) -> End {
        let Some((vigil, on_loss)) = &mut self.watched else { return pending().await };
        let refusal = vigil.lost().await;
        tracing::warn!(peer = %vigil.peer().spiffe_id(), serial = vigil.peer().serial_hex(), reason = %refusal,
            action = ?on_loss, "the peer of a live connection no longer stands");
        match on_loss {
            // A certificate that has ended takes nobody by surprise.
            OnLoss::Drop if matches!(refusal, Refusal::Expired { .. }) => End::Gently,
            OnLoss::Drop => End::Cut,
            OnLoss::Refuse => {
                let (peer, reporter) = (vigil.peer().clone(), vigil.reporter().cloned());
                // It is set once, here.
                let _ = self.lost.0.set(LostPeer { peer, refusal, reporter });
                pending().await
            }
            OnLoss::Report => pending().await,
        }
    }
}

impl Lost {
    /// The answer to a request of a peer that was lost.
    pub(super) fn answer(&self, path: &str) -> Option<Response> {
        let LostPeer { peer, refusal, reporter } = self.0.get()?;
        let status = match refusal {
            Refusal::Stale { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        let reference = Reference::new();
        outcome::refused_since_lost(peer, refusal, path, reference, reporter.as_ref());
        let problem = Problem {
            status,
            code: refusal.code(),
            detail: "the certificate of this connection is not good any more: connect anew".to_owned(),
            reference: Some(reference.to_string()),
            authenticate: None,
        };
        Some(problem.into_response())
    }
}

//! Callers with a live certificate: issued here, unexpired, unrevoked, of a machine that is neither suspended nor gone.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use countersign_identity::Serial;
use countersign_issuance::LedgerError;
use countersign_store::Presentation;
use countersign_verifier::{Presented, Refusal, VerifiedPeer};

use super::{desk::drain, machine::forgotten, problem::Failure, visitor::Visitor};
use crate::service::{Ca, Refused};

/// Who calls a route that wants a live certificate.
#[derive(Clone, Debug)]
pub(super) struct LivePeer {
    pub(super) peer: VerifiedPeer,
    pub(super) serial: Serial,
}

/// Lets in whoever has a live certificate, and tells the route who it is.
pub(super) async fn by_live_certificate(
    State(ca): State<Arc<Ca>>,
    mut request: Request,
    next: Next,
) -> Response {
    let visitor = request.extensions().get::<Visitor>().cloned();
    match admit(&ca, visitor.as_ref()).await {
        Ok(peer) => {
            request.extensions_mut().insert(peer);
            next.run(request).await
        }
        Err(failure) => {
            drain(request.into_body()).await;
            failure.into_response()
        }
    }
}

/// The holder of a live certificate behind a connection.
pub(super) async fn admit(ca: &Ca, visitor: Option<&Visitor>) -> Result<LivePeer, Failure> {
    match visitor.map(|visitor| visitor.presented(ca.now())) {
        Some(Presented::Verified(peer)) => live(ca, peer).await,
        Some(Presented::Refused(refusal)) => Err(Failure::from(refusal).server_time(ca.now())),
        Some(Presented::None) | None => Err(Refusal::NoCertificate.into()),
    }
}

async fn live(ca: &Ca, peer: VerifiedPeer) -> Result<LivePeer, Failure> {
    let unknown = || Failure::from(Refused::CertificateUnknown(peer.serial_hex()));
    let serial = peer.serial().ok_or_else(unknown)?;
    match ca.present_elsewhere(serial).await? {
        Presentation::Current { .. } | Presentation::Confirmed { .. } | Presentation::Older { .. } => {}
        Presentation::Revoked { .. } => {
            let (id, serial) = (peer.spiffe_id().clone(), peer.serial_hex());
            return Err(Refused::CertificateRevoked { id, serial }.into());
        }
        Presentation::NotActive { status, .. } => {
            return Err(match status.refusal() {
                Some(refusal) => Refused::Ledger(LedgerError::Refused(refusal)).into(),
                None => unknown(),
            });
        }
        // After a restore the fleet must hear of the new epoch before its machines have renewed.
        Presentation::Unknown if ca.may_be_forgotten(&forgotten(&peer, serial))? => {}
        Presentation::Unknown | Presentation::Expired { .. } | Presentation::Clone { .. } => {
            return Err(unknown());
        }
    }
    Ok(LivePeer { peer, serial })
}

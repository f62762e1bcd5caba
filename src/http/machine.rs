//! The routes machines use: enroll, renew, bundle, roots.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use countersign_api::{
    CertificateResponse, EnrollRequest, Invitation, ProblemCode, RecoverRequest, RenewRequest,
};
use countersign_issuance::{LedgerRefusal, Source};
use countersign_verifier::{Presented, Refusal, VerifiedPeer, Wire};

use super::{body::JsonBody, problem::Failure, visitor::Visitor};
use crate::service::{
    Ca, Enrollment, Forgotten, Granted, Refused, Renewal, Return,
    failpoint::{self, Arrow},
    pem,
};

/// `POST /v1/enroll`
pub(super) async fn enroll(
    State(ca): State<Arc<Ca>>,
    Extension(wire): Extension<Wire>,
    JsonBody(request): JsonBody<EnrollRequest>,
) -> Result<Json<CertificateResponse>, Failure> {
    let invitation: Invitation =
        request.invitation.parse().map_err(|error| Failure::new(ProblemCode::InvitationMalformed, error))?;
    let source = Source { addr: Some(wire.source.ip()) };
    let enrollment = Enrollment { secret: invitation.secret, csr: request_der(&request.csr)?, source };
    match ca.enroll(enrollment).await {
        Ok(granted) => Ok(Json(answer(&ca, &granted))),
        Err(refused) => {
            let failure = Failure::from(refused);
            ca.note_refused_enrollment(&invitation.secret, failure.code(), source).await;
            Err(failure)
        }
    }
}

/// `POST /v1/renew`
pub(super) async fn renew(
    State(ca): State<Arc<Ca>>,
    Extension(wire): Extension<Wire>,
    Extension(visitor): Extension<Visitor>,
    JsonBody(request): JsonBody<RenewRequest>,
) -> Result<Json<CertificateResponse>, Failure> {
    let source = Source { addr: Some(wire.source.ip()) };
    let peer = match visitor.presented(ca.now()) {
        Presented::Verified(peer) => peer,
        Presented::None => return Err(Refusal::NoCertificate.into()),
        Presented::Refused(refusal) => return Err(turned_away(&ca, refusal, source).await),
    };
    let presented = serial_of(&peer)?;
    let renewal = || Ok::<_, Failure>(Renewal { presented, csr: request_der(&request.csr)?, source });
    let renewed = match ca.renew(renewal()?).await {
        // A restored book has forgotten some of its own certificates.
        Err(Refused::CertificateUnknown(_)) => {
            match ca.meet_forgotten(&forgotten(&peer, presented), source).await {
                Ok(()) => ca.renew(renewal()?).await,
                Err(refused) => Err(refused),
            }
        }
        other => other,
    };
    match renewed {
        Ok(granted) => Ok(Json(answer(&ca, &granted))),
        Err(refused) => {
            let failure = Failure::from(refused);
            ca.note_refused_renewal(presented, failure.code(), source).await;
            Err(failure)
        }
    }
}

/// `POST /v1/recover`: the one route at which an expired certificate proves something.
pub(super) async fn recover(
    State(ca): State<Arc<Ca>>,
    Extension(wire): Extension<Wire>,
    Extension(visitor): Extension<Visitor>,
    JsonBody(request): JsonBody<RecoverRequest>,
) -> Result<Json<CertificateResponse>, Failure> {
    let peer = match visitor.presented(ca.now()) {
        Presented::Refused(Refusal::Expired { peer, .. }) => peer,
        Presented::Verified(_) => return Err(Refused::Ledger(LedgerRefusal::NotExpired.into()).into()),
        Presented::Refused(refusal) => return Err(Failure::from(refusal).server_time(ca.now())),
        Presented::None => return Err(Refusal::NoCertificate.into()),
    };
    let back = Return {
        spiffe_id: peer.spiffe_id().clone(),
        lineage: peer.lineage(),
        key: peer.key_hash(),
        csr: request_der(&request.csr)?,
        source: Source { addr: Some(wire.source.ip()) },
    };
    match ca.recover(back.clone()).await {
        Ok(granted) => Ok(Json(answer(&ca, &granted))),
        Err(refused) => {
            let failure = Failure::from(refused).server_time(ca.now());
            ca.note_refused_return(&back, failure.code()).await;
            Err(failure)
        }
    }
}

/// The CA's clock goes with every refusal of a certificate, and an expired one of ours leaves an event.
async fn turned_away(ca: &Ca, refusal: Refusal, source: Source) -> Failure {
    if let Refusal::Expired { peer, .. } = &refusal
        && let Some(serial) = peer.serial()
    {
        ca.note_expired(serial, source).await;
    }
    Failure::from(refusal).server_time(ca.now())
}

/// `GET /v1/bundle`, JWKS or PEM.
pub(super) async fn bundle(State(ca): State<Arc<Ca>>, headers: HeaderMap) -> Response {
    let wants = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wants.contains("application/x-pem-file") {
        let kind = [(header::CONTENT_TYPE, "application/x-pem-file")];
        return (kind, ca.bundle_pem()).into_response();
    }
    match super::bundle::jwks(&ca) {
        Ok(bundle) => Json(bundle).into_response(),
        Err(failure) => failure.into_response(),
    }
}

/// `GET /v1/roots`
pub(super) async fn roots(
    State(ca): State<Arc<Ca>>,
) -> Result<Json<countersign_api::RootsResponse>, Failure> {
    Ok(Json(countersign_api::RootsResponse { documents: ca.roots_documents()? }))
}

pub(super) fn request_der(text: &str) -> Result<Vec<u8>, Failure> {
    pem::request(text).ok_or_else(|| {
        Failure::new(ProblemCode::CsrMalformed, "csr: expected one PEM block \"CERTIFICATE REQUEST\"")
    })
}

/// Under our own issuers every serial has 18 octets; another length was never ours.
fn serial_of(peer: &VerifiedPeer) -> Result<countersign_identity::Serial, Failure> {
    peer.serial().ok_or_else(|| {
        Failure::new(
            ProblemCode::CertificateUnknown,
            format_args!("the certificate's serial {} was never issued here", peer.serial_hex()),
        )
    })
}

/// A good certificate as the service asks for it when the book does not know it.
pub(super) fn forgotten(peer: &VerifiedPeer, serial: countersign_identity::Serial) -> Forgotten<'_> {
    Forgotten {
        serial,
        spiffe_id: peer.spiffe_id(),
        lineage: peer.lineage(),
        key_hash: peer.key_hash(),
        validity: peer.validity(),
        issuer: peer.issuer_key(),
        der: peer.leaf_der(),
    }
}

pub(super) fn answer(ca: &Ca, granted: &Granted) -> CertificateResponse {
    failpoint::pass(Arrow::BeforeAnswer);
    CertificateResponse {
        machine: granted.machine.to_string(),
        chain: granted.chain_pem(),
        bundle: ca.bundle_pem(),
        not_after: granted.validity.not_after().to_string(),
        renew_after: granted.window.0.to_string(),
        renew_before: granted.window.1.to_string(),
        server_time: ca.now().to_string(),
    }
}

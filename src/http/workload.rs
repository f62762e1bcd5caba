//! The routes of machines for their workloads, and about the certificates they hold.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Query, State},
    http::StatusCode,
};
use countersign_api::{
    CertificateResponse, DeployedRequest, JwtSvidRequest, JwtSvidResponse, RenewalWindow,
    WorkloadRegistration, WorkloadRegistrations, WorkloadRequest, WorkloadWindow,
};
use countersign_identity::{Serial, SpiffeId};
use countersign_issuance::{Registration, Source};
use countersign_verifier::Wire;
use serde::Deserialize;

use super::{
    body::JsonBody,
    live::LivePeer,
    machine::{answer, request_der},
    problem::Failure,
};
use crate::service::{Ca, Refused, Window, WorkloadWish};

/// How long a machine that knows the newest list is held: below the minute after which proxies lose patience.
const PATIENCE: Duration = Duration::from_secs(55);
/// `HOST:PORT`, with the longest DNS name.
const LONGEST_ADDRESS: usize = 260;

/// `GET /v1/renewal`
pub(super) async fn renewal(
    State(ca): State<Arc<Ca>>,
    Extension(caller): Extension<LivePeer>,
) -> Result<Json<RenewalWindow>, Failure> {
    let (window, workloads) = ca.renewal_windows(caller.serial)?;
    let of_workload = |(id, window): (SpiffeId, Window)| WorkloadWindow {
        spiffe_id: id.to_string(),
        renew_after: window.after.to_string(),
        renew_before: window.before.to_string(),
        reason: window.reason.unwrap_or_default(),
    };
    Ok(Json(RenewalWindow {
        renew_after: window.after.to_string(),
        renew_before: window.before.to_string(),
        reason: window.reason,
        workloads: workloads.into_iter().map(of_workload).collect(),
        ask_again: window.ask_again.as_secs(),
        server_time: ca.now().to_string(),
    }))
}

/// `POST /v1/deployed`
pub(super) async fn deployed(
    State(ca): State<Arc<Ca>>,
    Extension(caller): Extension<LivePeer>,
    JsonBody(request): JsonBody<DeployedRequest>,
) -> Result<StatusCode, Failure> {
    let wrong = |what, found: &str, expected: &str| Refused::Parameter {
        what,
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    let seen: Serial =
        request.serial.parse().map_err(|_| wrong("serial", &request.serial, "a serial in lower-case hex"))?;
    let is_place = request.address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !is_place || request.address.len() > LONGEST_ADDRESS {
        return Err(wrong("address", &request.address, "HOST:PORT").into());
    }
    ca.deployed(caller.serial, seen, request.address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/workload`
pub(super) async fn workload(
    State(ca): State<Arc<Ca>>,
    Extension(wire): Extension<Wire>,
    Extension(caller): Extension<LivePeer>,
    JsonBody(request): JsonBody<WorkloadRequest>,
) -> Result<Json<CertificateResponse>, Failure> {
    let granted = ca.workload(WorkloadWish {
        presented: caller.serial,
        spiffe_id: identity(&request.spiffe_id)?,
        csr: request_der(&request.csr)?,
        source: Source { addr: Some(wire.source.ip()) },
    });
    Ok(Json(answer(&ca, &granted.await?)))
}

/// `POST /v1/jwt-svid`
pub(super) async fn jwt_svid(
    State(ca): State<Arc<Ca>>,
    Extension(caller): Extension<LivePeer>,
    JsonBody(request): JsonBody<JwtSvidRequest>,
) -> Result<Json<JwtSvidResponse>, Failure> {
    let id = identity(&request.spiffe_id)?;
    let signed = ca.jwt_svid(caller.serial, &id, request.audience.names()).await?;
    Ok(Json(JwtSvidResponse {
        spiffe_id: id.to_string(),
        svid: signed.token,
        expires: signed.expires.to_string(),
        server_time: ca.now().to_string(),
    }))
}

/// The query of `GET /v1/registrations`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    after: Option<u64>,
}

/// `GET /v1/registrations`
pub(super) async fn registrations(
    State(ca): State<Arc<Ca>>,
    Extension(caller): Extension<LivePeer>,
    Query(After { after }): Query<After>,
) -> Result<Json<WorkloadRegistrations>, Failure> {
    let (sequence, listed) = ca.children(caller.serial, after, PATIENCE).await?;
    Ok(Json(WorkloadRegistrations {
        sequence,
        registrations: listed.iter().map(registration_out).collect(),
        server_time: ca.now().to_string(),
    }))
}

fn registration_out(one: &Registration) -> WorkloadRegistration {
    WorkloadRegistration {
        spiffe_id: one.id.to_string(),
        selectors: one.selectors.clone(),
        until: one.until.map(|until| until.to_string()),
    }
}

fn identity(text: &str) -> Result<SpiffeId, Failure> {
    let malformed =
        |e: countersign_identity::SpiffeIdError| Refused::Malformed { what: "spiffe_id", why: e.to_string() };
    Ok(text.parse().map_err(malformed)?)
}

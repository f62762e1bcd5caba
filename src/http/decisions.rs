//! The route at which verifiers report what they decided.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use countersign_api::{DecisionReport, ReportResponse};

use super::{body::LargeJsonBody, live::LivePeer, problem::Failure};
use crate::service::Ca;

/// `POST /v1/events`
pub(super) async fn report(
    State(ca): State<Arc<Ca>>,
    Extension(caller): Extension<LivePeer>,
    LargeJsonBody(report): LargeJsonBody<DecisionReport>,
) -> Result<Json<ReportResponse>, Failure> {
    let accepted = ca.report(caller.peer.spiffe_id(), report).await?;
    Ok(Json(ReportResponse { accepted }))
}

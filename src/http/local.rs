//! The routes of the unix socket alone: reload, take up a new issuer, back up.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use countersign_api::admin::{Issuer, Page, ReloadResponse};
use tokio_util::io::ReaderStream;

use super::{admin::issuer_page, caller::Caller, problem::Failure, server::Desk};
use crate::service::{Ca, Refused};

/// `POST /v1/admin/reload`
pub(super) async fn reload(Extension(desk): Extension<Arc<Desk>>) -> Result<Json<ReloadResponse>, Failure> {
    Ok(Json(ReloadResponse { changed: desk.reload()? }))
}

/// `POST /v1/admin/issuers/adopt`
pub(super) async fn adopt_issuer(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
) -> Result<Json<Page<Issuer>>, Failure> {
    ca.adopt_issuer(caller.actor()).await?;
    Ok(issuer_page(&ca))
}

/// `POST /v1/admin/backup`: the file as it is written, then removed here.
pub(super) async fn backup(State(ca): State<Arc<Ca>>) -> Result<Response, Failure> {
    let path = tokio::task::spawn_blocking(move || ca.write_backup())
        .await
        .map_err(|e| Refused::File(format!("the backup broke off: {e}")))??;
    let failed = |e: std::io::Error| Refused::File(format!("{}: {e}", path.display()));
    let file = tokio::fs::File::open(&path).await.map_err(failed)?;
    // Open is enough: the content stays reachable through the handle and nowhere else.
    std::fs::remove_file(&path).map_err(failed)?;
    let body = Body::from_stream(ReaderStream::new(file));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

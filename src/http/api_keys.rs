//! The admin routes about API keys.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
};
use countersign_api::{
    ApiKey, ApiKeyEntry, ApiKeyMade, ApiKeyRequest, ApiKeyRevokeRequest, ApiKeyRotateRequest, admin::Page,
};
use countersign_identity::ApiKeyId;
use countersign_store::ApiKeyRecord;

use super::{
    body::JsonBody,
    caller::Caller,
    problem::Failure,
    wire_form::{self, ListQuery, explained},
};
use crate::service::{ApiKeyWish, Ca};

/// The longest note; it stands in the book beside the key.
const NOTE: usize = 256;

/// `POST /v1/admin/keys`
pub(super) async fn create(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    JsonBody(request): JsonBody<ApiKeyRequest>,
) -> Result<Json<ApiKeyMade>, Failure> {
    let wish = ApiKeyWish {
        spiffe_id: explained("spiffe_id", &request.spiffe_id)?,
        service: request.service,
        permissions: request
            .permissions
            .iter()
            .map(|permission| explained("permissions", permission))
            .collect::<Result<_, _>>()?,
        life: Duration::from_secs(request.ttl_seconds),
        note: wire_form::words("note", request.note, NOTE)?,
    };
    caller.may_touch(&ca, &wish.spiffe_id)?;
    let (key, record) = ca.create_api_key(wish, caller.actor()).await?;
    Ok(made(&ca, &key, &record))
}

/// `POST /v1/admin/keys/rotate`
pub(super) async fn rotate(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    JsonBody(request): JsonBody<ApiKeyRotateRequest>,
) -> Result<Json<ApiKeyMade>, Failure> {
    let id: ApiKeyId = explained("key", &request.key)?;
    caller.may_touch(&ca, &ca.known_api_key(id)?.spiffe_id)?;
    let (life, overlap) =
        (request.ttl_seconds.map(Duration::from_secs), Duration::from_secs(request.overlap_seconds));
    let (key, record) = ca.rotate_api_key(id, life, overlap, caller.actor()).await?;
    Ok(made(&ca, &key, &record))
}

/// `POST /v1/admin/keys/revoke`
pub(super) async fn revoke(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    JsonBody(request): JsonBody<ApiKeyRevokeRequest>,
) -> Result<Json<ApiKeyEntry>, Failure> {
    let id: ApiKeyId = explained("key", &request.key)?;
    // Taking a privilege away is not giving one: no identity is protected from it.
    ca.revoke_api_key(id, wire_form::reason(request.reason)?, caller.actor()).await?;
    Ok(Json(shown(&ca, &ca.known_api_key(id)?)))
}

/// `GET /v1/admin/keys`
pub(super) async fn list(
    State(ca): State<Arc<Ca>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ApiKeyEntry>>, Failure> {
    if let Some(id) = query.api_key()? {
        let one = ca.known_api_key(id)?;
        return Ok(Json(Page { items: vec![shown(&ca, &one)], next: None }));
    }
    let page = ca.api_keys(&query.api_key_filter()?, query.cursor()?.as_ref(), query.limit())?;
    let mut page = wire_form::page(page, |key| shown(&ca, key));
    page.items.retain(|one| query.wants_status(&one.status));
    Ok(Json(page))
}

fn made(ca: &Ca, key: &ApiKey, record: &ApiKeyRecord) -> Json<ApiKeyMade> {
    Json(ApiKeyMade { secret: key.reveal().as_str().to_owned(), key: shown(ca, record) })
}

fn shown(ca: &Ca, key: &ApiKeyRecord) -> ApiKeyEntry {
    ApiKeyEntry {
        key: key.id.to_string(),
        spiffe_id: key.spiffe_id.to_string(),
        service: key.service.clone(),
        permissions: key.permissions.clone(),
        status: ca.api_key_status(key).to_owned(),
        created: key.created.to_string(),
        expires: key.expires.to_string(),
        last_used: key.last_used.map(|at| at.to_string()),
        successor: key.successor.map(|id| id.to_string()),
        note: key.note.clone(),
    }
}

//! The routes verifiers read: the trust snapshot, its parts, and both in one file.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use countersign_api::{
    ProblemCode,
    trust::{SNAPSHOT_MEDIA_TYPE, TrustFile},
};
use countersign_identity::hex;
use serde::Deserialize;

use super::{
    desk::{Waited, drain},
    live::admit,
    problem::Failure,
    visitor::Visitor,
};
use crate::service::{Ca, Refused, Snapshot};

/// How long a reader that knows the newest snapshot is held: below the minute after which proxies lose patience.
const PATIENCE: Duration = Duration::from_secs(55);
/// How soon it makes sense to ask again while there is no snapshot.
const RETRY_SECONDS: u64 = 20;

/// The query of `GET /v1/trust`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    after: Option<String>,
}

/// `GET /v1/trust`
pub(super) async fn snapshot(
    State(ca): State<Arc<Ca>>,
    Query(query): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let Some(after) = query.number()? else {
        let snapshot = ca.trust_now().await.ok_or_else(unavailable)?;
        let same = known.is_some_and(|known| names(known, snapshot.etag()));
        return Ok(if same { unchanged(&snapshot) } else { shown(&snapshot) });
    };
    let newest = ca.trust().ok_or_else(unavailable)?;
    // What the reader knows is of another epoch: its numbers say nothing about ours.
    if newest.sequence() > after || known.is_some_and(|known| !is_of_epoch(known, newest.epoch())) {
        return Ok(shown(&newest));
    }
    let newest = ca.trust_after(after, PATIENCE).await.unwrap_or(newest);
    let signed_anew = known.is_some_and(|known| !names(known, newest.etag()));
    let answer = if newest.sequence() > after || signed_anew { shown(&newest) } else { unchanged(&newest) };
    Ok(with_waited(answer))
}

/// `GET /v1/trust/part/{sha256}`
pub(super) async fn part(
    State(ca): State<Arc<Ca>>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let snapshot = ca.trust().ok_or_else(unavailable)?;
    let digest = hex::decode(&sha256).ok().and_then(|octets| octets.try_into().ok());
    let part = digest.and_then(|digest: [u8; 32]| snapshot.part(&digest)).ok_or_else(|| {
        Failure::new(ProblemCode::PartUnknown, "no snapshot of the last minutes names this part")
    })?;
    let fixed = [
        (header::CONTENT_TYPE, part.media_type()),
        (header::CACHE_CONTROL, "max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    Ok(if takes_gzip(&headers) {
        (fixed, [(header::CONTENT_ENCODING, "gzip")], body(part.compressed())).into_response()
    } else {
        (fixed, body(part.octets())).into_response()
    })
}

/// `GET /v1/admin/trust`
pub(super) async fn file(State(ca): State<Arc<Ca>>) -> Result<Json<TrustFile>, Failure> {
    Ok(Json(ca.trust_now().await.ok_or_else(unavailable)?.file()))
}

/// Lets in whoever has a live certificate of the trust domain: policy and identities are a map for an attacker (DESIGN §4).
pub(super) async fn by_live_certificate(State(ca): State<Arc<Ca>>, request: Request, next: Next) -> Response {
    if ca.config().trust_public {
        return next.run(request).await;
    }
    let visitor = request.extensions().get::<Visitor>().cloned();
    if let Err(failure) = admit(&ca, visitor.as_ref()).await {
        drain(request.into_body()).await;
        return failure.into_response();
    }
    let answer = next.run(request).await;
    if answer.extensions().get::<Waited>().is_none() {
        return answer;
    }
    // The certificate may have been revoked while its holder waited.
    match admit(&ca, visitor.as_ref()).await {
        Ok(_) => answer,
        Err(failure) => with_waited(failure.into_response()),
    }
}

impl After {
    fn number(&self) -> Result<Option<u64>, Failure> {
        let Some(text) = self.after.as_deref() else { return Ok(None) };
        let expected = || "the sequence of a trust snapshot".to_owned();
        let number = text.parse().map_err(|_| Refused::Parameter {
            what: "after",
            found: text.to_owned(),
            expected: expected(),
        })?;
        Ok(Some(number))
    }
}

fn unavailable() -> Failure {
    Failure::new(ProblemCode::TrustUnavailable, "the CA could not sign a trust snapshot")
        .retry_after(RETRY_SECONDS)
}

fn shown(snapshot: &Snapshot) -> Response {
    let kind = [(header::CONTENT_TYPE, SNAPSHOT_MEDIA_TYPE)];
    (of(snapshot), kind, body(snapshot.jws())).into_response()
}

fn unchanged(snapshot: &Snapshot) -> Response {
    (StatusCode::NOT_MODIFIED, of(snapshot)).into_response()
}

fn of(snapshot: &Snapshot) -> [(HeaderName, String); 2] {
    [(header::ETAG, snapshot.etag().to_owned()), (header::CACHE_CONTROL, "no-cache".to_owned())]
}

/// The octets as they lie in memory: many readers share one copy.
fn body(octets: &Arc<[u8]>) -> Body {
    Body::from(hyper::body::Bytes::from_owner(Arc::clone(octets)))
}

fn with_waited(mut answer: Response) -> Response {
    answer.extensions_mut().insert(Waited);
    answer
}

/// Whether `If-None-Match` names this entity tag (RFC 9110 §13.1.2; comparison is weak).
fn names(header: &str, etag: &str) -> bool {
    header.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
}

/// Whether `If-None-Match` names a snapshot of this epoch.
fn is_of_epoch(header: &str, epoch: u64) -> bool {
    let prefix = format!("\"{epoch}-");
    header.split(',').map(str::trim).any(|one| one.strip_prefix("W/").unwrap_or(one).starts_with(&prefix))
}

/// Whether the caller takes gzip (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| {
        let mut words = one.split(';').map(str::trim);
        let named = words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        // A weight of zero means "not this".
        named && !words.any(|word| matches!(word, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_one_by_one() {
        assert!(
            names("\"1-2-3\"", "\"1-2-3\"")
                && names("\"a\", W/\"1-2-3\"", "\"1-2-3\"")
                && names("*", "\"x\"")
        );
        assert!(!names("\"1-2-33\"", "\"1-2-3\"") && !names("", "\"1-2-3\""));
        assert!(is_of_epoch("\"2-9-3\"", 2) && !is_of_epoch("\"21-9-3\"", 2) && !is_of_epoch("*", 2));
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())]))
        };
        assert!(takes("gzip") && takes("br, GZIP;q=0.5") && takes("gzip; q=1"));
        assert!(!takes("identity") && !takes("br, gzip;q=0") && !takes("") && !takes_gzip(&HeaderMap::new()));
    }
}

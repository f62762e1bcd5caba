//! What clients and resource servers find out by themselves: metadata (RFC 8414) and keys (RFC 7517).

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use countersign_api::paths;
use serde_json::{Value, json};

use crate::service::Ca;

/// How long a reader may keep either: keys are shown a day before they sign.
const KEPT: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server`, and where OpenID clients look.
pub(in crate::http) async fn metadata(State(ca): State<Arc<Ca>>) -> Response {
    ([(header::CACHE_CONTROL, KEPT)], Json(document(ca.token_issuer()))).into_response()
}

/// `GET /oauth2/jwks`
pub(in crate::http) async fn jwks(State(ca): State<Arc<Ca>>) -> Response {
    let keys = ca.keys();
    let part = keys.token_ring().published();
    // Some clients take no other type, though RFC 7517 §8.5 has one of its own.
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, KEPT)];
    (kind, Body::from(hyper::body::Bytes::from_owner(Arc::clone(part.octets())))).into_response()
}

fn document(issuer: &str) -> Value {
    let at = |path: &str| format!("{issuer}{path}");
    let methods = json!(["tls_client_auth", "private_key_jwt", "client_secret_basic"]);
    let own_key = json!(["tls_client_auth", "private_key_jwt"]);
    let algorithms = json!(["ES256"]);
    json!({
        "issuer": issuer,
        "token_endpoint": at(paths::TOKEN),
        "jwks_uri": at(paths::JWKS),
        "introspection_endpoint": at(paths::INTROSPECT),
        "introspection_endpoint_auth_methods_supported": own_key,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": at(paths::TOKEN_REVOKE),
        "revocation_endpoint_auth_methods_supported": own_key,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        // The listener asks every client for a certificate and demands none: one address serves both (RFC 8705 §5).
        "mtls_endpoint_aliases": {
            "token_endpoint": at(paths::TOKEN),
            "introspection_endpoint": at(paths::INTROSPECT),
            "revocation_endpoint": at(paths::TOKEN_REVOKE),
        },
        "tls_client_certificate_bound_access_tokens": true,
        // There is no authorization endpoint (RFC 8414 §2 wants the member nevertheless).
        "response_types_supported": [],
        // There are no ID tokens and no users; OpenID Connect Discovery §3 wants the members nevertheless.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

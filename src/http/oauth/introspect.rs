//! `POST /oauth2/introspect` (RFC 7662) and `POST /oauth2/revoke` (RFC 7009): one token in, a word about it out.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    authenticate::authenticate,
    fault::{Fault, never_stored},
    form::{Form, FormBody},
};
use crate::{
    http::visitor::Visitor,
    service::{Ca, Ungranted},
};

/// `POST /oauth2/introspect`
pub(in crate::http) async fn introspect(
    State(ca): State<Arc<Ca>>,
    visitor: Option<Extension<Visitor>>,
    headers: HeaderMap,
    FormBody(form): FormBody,
) -> Result<Response, Fault> {
    let visitor = visitor.map(|Extension(visitor)| visitor);
    let proven = authenticate(&ca, visitor.as_ref(), &headers, &form).await;
    let caller = proven.map_err(|refused| Fault::of(refused, &headers))?;
    let mut response = Json(ca.introspect(&caller, subject(&form)?)?).into_response();
    never_stored(response.headers_mut());
    Ok(response)
}

/// `POST /oauth2/revoke`
pub(in crate::http) async fn revoke(
    State(ca): State<Arc<Ca>>,
    visitor: Option<Extension<Visitor>>,
    headers: HeaderMap,
    FormBody(form): FormBody,
) -> Result<Response, Fault> {
    let visitor = visitor.map(|Extension(visitor)| visitor);
    let proven = authenticate(&ca, visitor.as_ref(), &headers, &form).await;
    let caller = proven.map_err(|refused| Fault::of(refused, &headers))?;
    ca.withdraw(&caller, subject(&form)?).await?;
    let mut response = StatusCode::OK.into_response();
    never_stored(response.headers_mut());
    Ok(response)
}

/// What is asked about. `token_type_hint` says nothing that the token does not say itself.
fn subject(form: &Form) -> Result<&str, Ungranted> {
    form.one("token")?.ok_or_else(|| Ungranted::Request("token is missing".to_owned()))
}

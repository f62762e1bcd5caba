//! `POST /oauth2/token` (RFC 6749 §4.4).

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use countersign_issuance::Source;
use countersign_policy::Permission;
use countersign_verifier::Wire;
use serde::Serialize;

use super::{
    authenticate::authenticate,
    fault::{Fault, never_stored},
    form::{Form, FormBody},
};
use crate::{
    http::visitor::Visitor,
    service::{AccessToken, Ca, Client, RESOURCE_PREFIX, TokenWish, Ungranted},
};

/// `POST /oauth2/token`
pub(in crate::http) async fn token(
    State(ca): State<Arc<Ca>>,
    Extension(wire): Extension<Wire>,
    visitor: Option<Extension<Visitor>>,
    headers: HeaderMap,
    FormBody(form): FormBody,
) -> Response {
    let source = Source { addr: Some(wire.source.ip()) };
    let visitor = visitor.map(|Extension(visitor)| visitor);
    let mut client = None;
    let answered = match authenticate(&ca, visitor.as_ref(), &headers, &form).await {
        Ok(proven) => granted(&ca, client.insert(proven), &form, source).await,
        Err(refused) => Err(refused),
    };
    match answered {
        Ok(token) => shown(&token),
        Err(refused) => {
            let fault = Fault::of(refused, &headers);
            let service = form.one("audience").ok().flatten().filter(|name| name.len() <= 64);
            let who = client.as_ref().map(Client::id);
            ca.note_refusal("token.refused", who, service, fault.code(), source).await;
            fault.into_response()
        }
    }
}

async fn granted(ca: &Ca, client: &Client, form: &Form, source: Source) -> Result<AccessToken, Ungranted> {
    match form.one("grant_type")? {
        Some("client_credentials") => {}
        Some(other) => return Err(Ungranted::GrantType(other.chars().take(64).collect())),
        None => return Err(Ungranted::Request("grant_type is missing".to_owned())),
    }
    ca.grant(client, &wish(form)?, source).await
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u64,
    scope: &'a str,
}

fn shown(token: &AccessToken) -> Response {
    let AccessToken { token, scope, expires_in } = token;
    let answer =
        Answer { access_token: token, token_type: "Bearer", expires_in: expires_in.as_secs(), scope };
    let mut response = Json(answer).into_response();
    never_stored(response.headers_mut());
    response
}

fn wish(form: &Form) -> Result<TokenWish, Ungranted> {
    let resources = form.all("resource").iter().map(|resource| {
        let name = resource.strip_prefix(RESOURCE_PREFIX);
        name.ok_or_else(|| {
            Ungranted::Target(format!("resource {:?}: expected {RESOURCE_PREFIX}NAME", **resource))
        })
    });
    let mut services = resources.collect::<Result<Vec<_>, _>>()?;
    services.extend(form.all("audience").iter().map(|name| name.as_str()));
    services.dedup();
    if services.len() > 1 {
        return Err(Ungranted::Target("one token is for one service".to_owned()));
    }
    let service = services.first().map(|name| (*name).to_owned()).filter(|name| !name.is_empty());
    Ok(TokenWish { service, scope: form.one("scope")?.map(permissions).transpose()? })
}

/// A scope is a list of permissions with one blank between them (RFC 6749 §3.3).
fn permissions(scope: &str) -> Result<Vec<Permission>, Ungranted> {
    let one = |word: &str| {
        word.parse()
            .map_err(|error| Ungranted::Scope(format!("scope {word:?}: expected SERVICE:ACTION: {error}")))
    };
    scope.split(' ').map(one).collect()
}

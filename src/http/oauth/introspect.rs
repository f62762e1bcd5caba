//! `POST /oauth2/introspect` (RFC 7662) and `POST /oauth2/revoke` (RFC 7009): one token in, a word about it out.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use countersign_issuance::Source;
use countersign_verifier::Wire;

use super::{
    authenticate::authenticate,
    fault::{Fault, never_stored},
    form::{Form, FormBody},
};
use crate::{
    http::visitor::Visitor,
    service::{Ca, Client, Ungranted},
};

/// `POST /oauth2/introspect`
pub(in crate::http) async fn introspect(
    State(ca): State<Arc<Ca>>,
    Extension(wire): Extension<Wire>,
    visitor: Option<Extension<Visitor>>,
    headers: HeaderMap,
    FormBody(form): FormBody,
) -> Response {
    let asked = Asked { ca: &ca, visitor: visitor.map(|Extension(visitor)| visitor), headers, form, wire };
    let mut client = None;
    let said = match asked.client(&mut client).await {
        Ok(caller) => match asked.subject() {
            Ok(text) => ca.introspect(caller, text, asked.source()).await,
            Err(refused) => Err(refused),
        },
        Err(refused) => Err(refused),
    };
    match said {
        Ok(said) => answered(Json(said)),
        Err(refused) => asked.refused("introspection.refused", client.as_ref(), refused).await,
    }
}

/// `POST /oauth2/revoke`
pub(in crate::http) async fn revoke(
    State(ca): State<Arc<Ca>>,
    Extension(wire): Extension<Wire>,
    visitor: Option<Extension<Visitor>>,
    headers: HeaderMap,
    FormBody(form): FormBody,
) -> Response {
    let asked = Asked { ca: &ca, visitor: visitor.map(|Extension(visitor)| visitor), headers, form, wire };
    let mut client = None;
    let done = match asked.client(&mut client).await {
        Ok(caller) => match asked.subject() {
            Ok(text) => ca.withdraw(caller, text).await,
            Err(refused) => Err(refused),
        },
        Err(refused) => Err(refused),
    };
    match done {
        Ok(()) => answered(StatusCode::OK),
        Err(refused) => asked.refused("revocation.refused", client.as_ref(), refused).await,
    }
}

/// A request about one token.
struct Asked<'a> {
    ca: &'a Ca,
    visitor: Option<Visitor>,
    headers: HeaderMap,
    form: Form,
    wire: Wire,
}

impl Asked<'_> {
    /// Who asks; also left in `client`, for the event of a refusal that comes later.
    async fn client<'c>(&self, client: &'c mut Option<Client>) -> Result<&'c Client, Ungranted> {
        let proven = authenticate(self.ca, self.visitor.as_ref(), &self.headers, &self.form).await?;
        Ok(client.insert(proven))
    }

    /// What is asked about. `token_type_hint` says nothing that the token does not say itself.
    fn subject(&self) -> Result<&str, Ungranted> {
        self.form.one("token")?.ok_or_else(|| Ungranted::Request("token is missing".to_owned()))
    }

    fn source(&self) -> Source {
        Source { addr: Some(self.wire.source.ip()) }
    }

    async fn refused(&self, kind: &'static str, client: Option<&Client>, refused: Ungranted) -> Response {
        let fault = Fault::of(refused, &self.headers);
        self.ca.note_refusal(kind, client.map(Client::id), None, fault.code(), self.source()).await;
        fault.into_response()
    }
}

fn answered(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    never_stored(response.headers_mut());
    response
}

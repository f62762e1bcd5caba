//! `POST /oauth2/introspect` (RFC 7662) and `POST /oauth2/revoke` (RFC 7009): one token in, a word about it out.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{FromRequest, FromRequestParts as _, Request},
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
pub(in crate::http) async fn introspect(asked: Asked) -> Response {
    asked.answer(Wish::Word).await
}

/// `POST /oauth2/revoke`
pub(in crate::http) async fn revoke(asked: Asked) -> Response {
    asked.answer(Wish::End).await
}

/// What is wanted of a token.
#[derive(Clone, Copy)]
enum Wish {
    /// A word about it.
    Word,
    /// Its end.
    End,
}

/// A request about one token.
pub(in crate::http) struct Asked {
    ca: Arc<Ca>,
    visitor: Option<Visitor>,
    headers: HeaderMap,
    form: Form,
    wire: Wire,
}

impl FromRequest<Arc<Ca>> for Asked {
    type Rejection = Response;

    async fn from_request(request: Request, ca: &Arc<Ca>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let wire = Extension::<Wire>::from_request_parts(&mut parts, ca).await;
        let Extension(wire) = wire.map_err(IntoResponse::into_response)?;
        let (visitor, headers) = (parts.extensions.get::<Visitor>().cloned(), parts.headers.clone());
        let form = FormBody::from_request(Request::from_parts(parts, body), ca).await;
        let FormBody(form) = form.map_err(IntoResponse::into_response)?;
        Ok(Self { ca: Arc::clone(ca), visitor, headers, form, wire })
    }
}

impl Asked {
    async fn answer(&self, wish: Wish) -> Response {
        let mut client = None;
        match self.done(wish, &mut client).await {
            Ok(mut response) => {
                never_stored(response.headers_mut());
                response
            }
            Err(refused) => self.refused(wish, client.as_ref(), refused).await,
        }
    }

    /// Who asks is left in `client`, for the event of a refusal that comes later. `token_type_hint` says nothing that the
    /// token does not say itself.
    async fn done(&self, wish: Wish, client: &mut Option<Client>) -> Result<Response, Ungranted> {
        let proven = authenticate(&self.ca, self.visitor.as_ref(), &self.headers, &self.form).await?;
        let caller = client.insert(proven);
        let text = self.form.one("token")?;
        let text = text.ok_or_else(|| Ungranted::Request("token is missing".to_owned()))?;
        Ok(match wish {
            Wish::Word => Json(self.ca.introspect(caller, text, self.source()).await?).into_response(),
            Wish::End => {
                self.ca.withdraw(caller, text).await?;
                StatusCode::OK.into_response()
            }
        })
    }

    fn source(&self) -> Source {
        Source { addr: Some(self.wire.source.ip()) }
    }

    async fn refused(&self, wish: Wish, client: Option<&Client>, refused: Ungranted) -> Response {
        let kind = match wish {
            Wish::Word => "introspection.refused",
            Wish::End => "revocation.refused",
        };
        let fault = Fault::of(refused, &self.headers);
        self.ca.note_refusal(kind, client.map(Client::id), None, fault.code(), self.source()).await;
        fault.into_response()
    }
}

//! The SPIFFE Workload API (SPIFFE Workload API §5, §6): every message is the whole state, the first comes at once.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_identity::{SpiffeId, TrustDomain};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::connection::Connection;
use super::follower::{Follower, Known, stream};
use crate::custody::{Custody, Svid, TokenError, View, concatenated};
use crate::generated::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use crate::generated::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use crate::schedule::TICK;

/// More audiences than that in one token is a mistake: whoever of them is given it can show it to the others.
const AUDIENCES: usize = 16;
/// Longer than any honest audience.
const AUDIENCE: usize = 1024;

/// The service.
#[derive(Debug)]
pub(super) struct Api {
    custody: Arc<Custody>,
}

impl Api {
    pub(super) fn new(custody: &Arc<Custody>) -> Self {
        Self { custody: Arc::clone(custody) }
    }

    async fn tokens(&self, ids: &[SpiffeId], audience: &[String], uid: u32) -> Result<Vec<Jwtsvid>, Status> {
        let _in_use = self.custody.use_of(ids.iter().cloned());
        let mut svids = Vec::new();
        for id in ids {
            let svid = self.custody.token(id, audience, uid).await.map_err(|error| match error {
                TokenError::Refused(why) => Status::permission_denied(format!("no identity issued: {why}")),
                TokenError::Away(why) => Status::unavailable(why),
            })?;
            svids.push(Jwtsvid { spiffe_id: id.to_string(), svid, hint: String::new() });
        }
        Ok(svids)
    }
}

/// Who called, as the connection found out.
pub(super) fn connection_of<T>(request: &Request<T>) -> Result<Arc<Connection>, Status> {
    let connection = request.extensions().get::<Arc<Connection>>().map(Arc::clone);
    connection.ok_or_else(|| Status::internal("the call came by no connection"))
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Api {
    type FetchX509SVIDStream = ReceiverStream<Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = ReceiverStream<Result<X509BundlesResponse, Status>>;
    type FetchJWTBundlesStream = ReceiverStream<Result<JwtBundlesResponse, Status>>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let mut follower = Follower::new(connection_of(&request)?);
        Ok(Response::new(stream(move |to| async move {
            let mut told: Option<Known> = None;
            loop {
                let known = follower.next(told.as_ref()).await?;
                if to.send(Ok(x509_svids(&known))).await.is_err() {
                    return Ok(());
                }
                told = Some(known);
            }
        })))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let bundles = |domain: &TrustDomain, view: &View| X509BundlesResponse {
            crl: Vec::new(),
            bundles: HashMap::from([(name(domain), concatenated(&view.roots))]),
        };
        Ok(Response::new(follow_bundles(connection_of(&request)?, |_| true, bundles)))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let asked = request.get_ref();
        check_audience(&asked.audience)?;
        let wanted: Option<SpiffeId> = match asked.spiffe_id.as_str() {
            "" => None,
            text => {
                Some(text.parse().map_err(|error| Status::invalid_argument(format!("spiffe_id: {error}")))?)
            }
        };
        let mut follower = Follower::new(connection_of(&request)?);
        let (mut ids, _) = follower.entitled().await?;
        if let Some(wanted) = wanted {
            ids.retain(|id| *id == wanted);
        }
        if ids.is_empty() {
            return Err(Status::permission_denied("no identity issued"));
        }
        let uid = follower.caller().caller.uid();
        Ok(Response::new(JwtsvidResponse { svids: self.tokens(&ids, &asked.audience, uid).await? }))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let bundles = |domain: &TrustDomain, view: &View| JwtBundlesResponse {
            bundles: HashMap::from([(name(domain), view.authorities.jwks())]),
        };
        Ok(Response::new(follow_bundles(connection_of(&request)?, knows_tokens, bundles)))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let asked = request.get_ref();
        for (field, value) in [("audience", &asked.audience), ("svid", &asked.svid)] {
            if value.is_empty() {
                return Err(Status::invalid_argument(format!("{field} must be specified")));
            }
        }
        let mut follower = Follower::new(connection_of(&request)?);
        let (domain, view) = follower.domain(knows_tokens).await?;
        let good = view
            .authorities
            .validate(&asked.svid, &asked.audience, &domain, self.custody.now())
            .map_err(|why| Status::invalid_argument(format!("the token is not valid: {why}")))?;
        let fields = good.claims.into_iter().map(|(name, value)| (name, of_json(value))).collect();
        let claims = Some(Struct { fields });
        Ok(Response::new(ValidateJwtsvidResponse { spiffe_id: good.id.to_string(), claims }))
    }
}

/// Whether tokens can be judged.
fn knows_tokens(view: &View) -> bool {
    view.authorities.are_known()
}

/// Tells a caller of the bundles once they are known, and again when they change.
fn follow_bundles<T: Clone + PartialEq + Send + Sync + 'static>(
    connection: Arc<Connection>,
    is_known: fn(&View) -> bool,
    make: impl Fn(&TrustDomain, &View) -> T + Send + 'static,
) -> ReceiverStream<Result<T, Status>> {
    let mut follower = Follower::new(connection);
    stream(move |to| async move {
        let mut told = None;
        loop {
            let (domain, view) = follower.domain(is_known).await?;
            let message = make(&domain, &view);
            if told.as_ref() != Some(&message) {
                if to.send(Ok(message.clone())).await.is_err() {
                    return Ok(());
                }
                told = Some(message);
            }
            follower.wait(TICK).await;
        }
    })
}

/// The key of the maps of bundles: the trust domain as a SPIFFE ID.
fn name(domain: &TrustDomain) -> String {
    format!("spiffe://{domain}")
}

fn x509_svids(known: &Known) -> X509svidResponse {
    let bundle = concatenated(&known.view.roots);
    let svid = |svid: &Arc<Svid>| X509svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: svid.chain_der(),
        x509_svid_key: svid.key_der().to_vec(),
        bundle: bundle.clone(),
        hint: String::new(),
    };
    X509svidResponse {
        svids: known.svids.iter().map(svid).collect(),
        crl: Vec::new(),
        federated_bundles: HashMap::new(),
    }
}

fn check_audience(audience: &[String]) -> Result<(), Status> {
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        return Err(Status::invalid_argument("audience must be specified"));
    }
    if audience.len() > AUDIENCES || audience.iter().any(|name| name.len() > AUDIENCE) {
        let limits = format!("at most {AUDIENCES} audiences of {AUDIENCE} octets are taken");
        return Err(Status::invalid_argument(limits));
    }
    Ok(())
}

fn of_json(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(of_json).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(name, value)| (name, of_json(value))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

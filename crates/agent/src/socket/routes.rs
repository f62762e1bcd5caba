//! Which service a call is for.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use hyper::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use super::connection::Connection;
use super::sds::Sds;
use super::workload_api::Api;
use crate::custody::Custody;
use crate::error::AgentError;
use crate::generated::DESCRIPTORS;
use crate::generated::sds::secret_discovery_service_server::{
    SERVICE_NAME as SDS, SecretDiscoveryServiceServer,
};
use crate::generated::workload::spiffe_workload_api_server::{
    SERVICE_NAME as WORKLOAD_API, SpiffeWorkloadApiServer,
};

const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
/// What every call of the Workload API carries (SPIFFE Workload Endpoint §3): a request that was forged by way of a
/// browser or a proxy does not.
pub(super) const SECURITY_HEADER: &str = "workload.spiffe.io";
/// The largest message read: honest ones are a token and an audience.
const MESSAGE: usize = 64 << 10;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>;

/// The services by name.
pub(super) struct Routes {
    services: Vec<(&'static str, Handler)>,
}

impl Routes {
    pub(super) fn new(custody: &Arc<Custody>) -> Result<Self, AgentError> {
        let broken = |error: &dyn std::fmt::Display| AgentError::failed(format!("reflection: {error}"));
        let describe = || {
            tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS)
        };
        let v1 = describe().build_v1().map_err(|error| broken(&error))?;
        let alpha = describe().build_v1alpha().map_err(|error| broken(&error))?;
        let workload_api = SpiffeWorkloadApiServer::new(Api::new(custody)).max_decoding_message_size(MESSAGE);
        let sds = SecretDiscoveryServiceServer::new(Sds::new(custody)).max_decoding_message_size(MESSAGE);
        Ok(Self {
            services: vec![
                (WORKLOAD_API, handler(workload_api)),
                (SDS, handler(sds)),
                (REFLECTION, handler(v1.max_decoding_message_size(MESSAGE))),
                (REFLECTION_ALPHA, handler(alpha.max_decoding_message_size(MESSAGE))),
            ],
        })
    }

    pub(super) async fn answer(
        &self,
        mut request: Request<Body>,
        connection: &Arc<Connection>,
    ) -> Response<Body> {
        let name = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
        let Some((name, handler)) = self.services.iter().find(|(service, _)| *service == name) else {
            return Status::unimplemented("no such service").into_http();
        };
        let header = request.headers().get(SECURITY_HEADER);
        if *name == WORKLOAD_API && header.is_none_or(|value| value != "true") {
            return Status::invalid_argument("security header missing from request").into_http();
        }
        request.extensions_mut().insert(Arc::clone(connection));
        handler(request).await
    }
}

fn handler<S>(service: S) -> Handler
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Box::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    })
}

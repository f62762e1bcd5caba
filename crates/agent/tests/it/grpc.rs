//! A client of the Workload API that knows the standard's field numbers and nothing of the agent's code.

use std::collections::HashMap;
use std::path::Path;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509Response {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509Svid>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509Bundles {
    #[prost(map = "string, bytes", tag = "2")]
    pub(crate) bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JwtRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) audience: Vec<String>,
    #[prost(string, tag = "2")]
    pub(crate) spiffe_id: String,
}

impl JwtRequest {
    pub(crate) fn of(audience: &str) -> Self {
        Self { audience: vec![audience.into()], spiffe_id: String::new() }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JwtResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<JwtSvid>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JwtSvid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(string, tag = "2")]
    pub(crate) svid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JwtBundles {
    #[prost(map = "string, bytes", tag = "1")]
    pub(crate) bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValidateRequest {
    #[prost(string, tag = "1")]
    pub(crate) audience: String,
    #[prost(string, tag = "2")]
    pub(crate) svid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValidateResponse {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
}

pub(crate) struct Client {
    pub(crate) channel: Channel,
    pub(crate) header: Option<&'static str>,
}

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let uri = format!("unix://{}", socket.display());
        let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
        Self { channel, header: Some("true") }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(value) = self.header {
            request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static(value));
        }
        request
    }

    async fn unary<Q: Message + 'static, A: Message + Default + 'static>(
        &self,
        rpc: &str,
        message: Q,
    ) -> Result<A, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path: PathAndQuery = format!("/SpiffeWorkloadAPI/{rpc}").parse().unwrap();
        let answer = grpc.unary(self.request(message), path, ProstCodec::<Q, A>::default()).await?;
        Ok(answer.into_inner())
    }

    async fn stream<A: Message + Default + 'static>(&self, rpc: &str) -> Result<Streaming<A>, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path: PathAndQuery = format!("/SpiffeWorkloadAPI/{rpc}").parse().unwrap();
        let codec = ProstCodec::<Nothing, A>::default();
        Ok(grpc.server_streaming(self.request(Nothing {}), path, codec).await?.into_inner())
    }

    pub(crate) async fn x509_svids(&self) -> Result<Streaming<X509Response>, Status> {
        self.stream("FetchX509SVID").await
    }

    pub(crate) async fn x509_bundles(&self) -> Result<Streaming<X509Bundles>, Status> {
        self.stream("FetchX509Bundles").await
    }

    pub(crate) async fn jwt_bundles(&self) -> Result<Streaming<JwtBundles>, Status> {
        self.stream("FetchJWTBundles").await
    }

    pub(crate) async fn jwt_svid(&self, request: JwtRequest) -> Result<JwtResponse, Status> {
        self.unary("FetchJWTSVID", request).await
    }

    pub(crate) async fn validate(&self, request: ValidateRequest) -> Result<ValidateResponse, Status> {
        self.unary("ValidateJWTSVID", request).await
    }

    pub(crate) async fn call_unknown(&self) -> Result<Nothing, Status> {
        self.unary("FetchWITSVID", Nothing {}).await
    }

    pub(crate) async fn reflected_services(&self) -> Vec<String> {
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let list = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let path = PathAndQuery::from_static("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
        let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
        let asked = tonic::codegen::tokio_stream::once(list);
        let answers = grpc.streaming(Request::new(asked), path, codec).await.unwrap();
        match answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect()
            }
            other => panic!("found {other:?}"),
        }
    }
}

//! Envoy's secret discovery service: the whole state of what was asked for, again at every change (xDS, state of the
//! world).

use std::sync::Arc;

use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::complaints::Complaints;
use super::follower::{Follower, Known, stream};
use super::sds_delta;
use super::secrets::{SECRET, check_type, secrets, version_of};
use super::workload_api::connection_of;
use crate::custody::Custody;
use crate::generated::sds::secret_discovery_service_server::SecretDiscoveryService;
use crate::generated::sds::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

/// More names than a proxy has listeners.
pub(super) const NAMES: usize = 1000;

/// The service.
#[derive(Debug)]
pub(super) struct Sds {
    complaints: Arc<Complaints>,
}

impl Sds {
    pub(super) fn new(_: &Arc<Custody>) -> Self {
        Self { complaints: Arc::default() }
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type DeltaSecretsStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;
    type StreamSecretsStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        let follower = Follower::new(connection_of(&request)?);
        let (asked, complaints) = (request.into_inner(), Arc::clone(&self.complaints));
        Ok(Response::new(stream(move |to| sds_delta::serve(asked, follower, complaints, to))))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let mut follower = Follower::new(connection_of(&request)?);
        let (mut asked, complaints) = (request.into_inner(), Arc::clone(&self.complaints));
        Ok(Response::new(stream(move |to| async move {
            let mut subscription = Subscription::default();
            let mut told: Option<Known> = None;
            loop {
                let answer = tokio::select! {
                    request = asked.message() => match request? {
                        None => return Ok(()),
                        Some(request) => {
                            if told.is_some() {
                                let (refusal, node) = (request.error_detail.as_ref(), request.node.as_ref());
                                let node = node.map(|node| node.id.as_str());
                                complaints.heed(refusal, follower.caller(), node, &request.resource_names);
                            }
                            if !subscription.is_changed_by(&request)? {
                                continue;
                            }
                            let known = follower.held().await?;
                            let answer = subscription.answer(&known, true);
                            told = Some(known);
                            answer
                        }
                    },
                    known = follower.next(told.as_ref()), if subscription.names.is_some() => {
                        let known = known?;
                        let answer = subscription.answer(&known, false);
                        told = Some(known);
                        answer
                    }
                };
                if let Some(answer) = answer
                    && to.send(Ok(answer)).await.is_err()
                {
                    return Ok(());
                }
            }
        })))
    }

    async fn fetch_secrets(
        &self,
        request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        let mut follower = Follower::new(connection_of(&request)?);
        let mut subscription = Subscription::default();
        subscription.is_changed_by(request.get_ref())?;
        let known = follower.held().await?;
        let answer = subscription.answer(&known, true);
        answer.map(Response::new).ok_or_else(|| Status::internal("no answer"))
    }
}

/// What one stream has asked for and was told.
#[derive(Debug, Default)]
struct Subscription {
    names: Option<Vec<String>>,
    nonce: u64,
    version: String,
}

impl Subscription {
    /// Takes a request: a first one and one with other names want an answer, an acknowledgement and a refusal do not. A
    /// refused version is not sent again; the next one is.
    fn is_changed_by(&mut self, request: &DiscoveryRequest) -> Result<bool, Status> {
        check_type(&request.type_url)?;
        check_names(request.resource_names.len())?;
        let is_about_an_older_answer =
            self.names.is_some() && request.response_nonce != self.nonce.to_string();
        if is_about_an_older_answer || self.names.as_ref() == Some(&request.resource_names) {
            return Ok(false);
        }
        self.names = Some(request.resource_names.clone());
        Ok(true)
    }

    /// The answer, where it says anything new or one is `due`.
    fn answer(&mut self, known: &Known, due: bool) -> Option<DiscoveryResponse> {
        let found = secrets(self.names.as_deref().unwrap_or_default(), known);
        let version = version_of(&found);
        if !due && version == self.version {
            return None;
        }
        self.nonce += 1;
        self.version = version;
        Some(DiscoveryResponse {
            version_info: self.version.clone(),
            resources: found.into_values().map(|sealed| sealed.secret).collect(),
            type_url: SECRET.to_owned(),
            nonce: self.nonce.to_string(),
        })
    }
}

/// Refuses more names than anybody needs.
pub(super) fn check_names(count: usize) -> Result<(), Status> {
    if count > NAMES {
        return Err(Status::invalid_argument(format!("{count} names, at most {NAMES} are taken")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::sds::Refusal;

    fn request(names: &[&str], nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            resource_names: names.iter().map(ToString::to_string).collect(),
            response_nonce: nonce.into(),
            type_url: SECRET.into(),
            ..DiscoveryRequest::default()
        }
    }

    #[test]
    fn acknowledgements_and_refusals_are_not_answered() {
        let mut subscription = Subscription::default();
        assert!(subscription.is_changed_by(&request(&["default"], "")).unwrap());
        subscription.nonce = 1;
        assert!(!subscription.is_changed_by(&request(&["default"], "1")).unwrap(), "acknowledged");
        let refused = DiscoveryRequest {
            error_detail: Some(Refusal { code: 3, message: "no".into() }),
            ..request(&["default"], "1")
        };
        assert!(!subscription.is_changed_by(&refused).unwrap(), "a refused version makes no loop");
        assert!(!subscription.is_changed_by(&request(&["ROOTCA"], "0")).unwrap(), "about an older answer");
        assert!(subscription.is_changed_by(&request(&["default", "ROOTCA"], "1")).unwrap());
    }

    #[test]
    fn nothing_but_secrets_is_served() {
        let other = DiscoveryRequest { type_url: "type.googleapis.com/x".into(), ..request(&[], "") };
        assert!(Subscription::default().is_changed_by(&other).is_err());
        let many = DiscoveryRequest { resource_names: vec![String::new(); NAMES + 1], ..request(&[], "") };
        assert!(Subscription::default().is_changed_by(&many).is_err());
    }
}

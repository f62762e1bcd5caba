//! Envoy's secret discovery service in its incremental form: only what changed, and what is gone (xDS, delta).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::complaints::Complaints;
use super::follower::{Follower, Known};
use super::sds::check_names;
use super::secrets::{SECRET, check_type, secrets};
use crate::generated::sds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

/// Serves one stream.
pub(super) async fn serve(
    mut asked: Streaming<DeltaDiscoveryRequest>,
    mut follower: Follower,
    complaints: Arc<Complaints>,
    to: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
) -> Result<(), Status> {
    let mut subscription = Subscription::default();
    let mut told: Option<Known> = None;
    loop {
        let known = tokio::select! {
            request = asked.message() => match request? {
                None => return Ok(()),
                Some(request) => {
                    if told.is_some() {
                        let (refusal, node) = (request.error_detail.as_ref(), request.node.as_ref());
                        let node = node.map(|node| node.id.as_str());
                        complaints.heed(refusal, follower.caller(), node, &subscription.names());
                    }
                    subscription.take(&request)?;
                    follower.held().await?
                }
            },
            known = follower.next(told.as_ref()), if subscription.has_begun => known?,
        };
        let answer = subscription.answer(&known);
        told = Some(known);
        if let Some(answer) = answer
            && to.send(Ok(answer)).await.is_err()
        {
            return Ok(());
        }
    }
}

/// What one stream has asked for and was told.
#[derive(Debug, Default)]
struct Subscription {
    has_begun: bool,
    names: BTreeSet<String>,
    /// The versions the other side has, whether it took them or not: a refused one is not sent again.
    sent: BTreeMap<String, String>,
    nonce: u64,
}

impl Subscription {
    /// Takes a request: names come and go, an acknowledgement and a refusal change nothing.
    fn take(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        check_type(&request.type_url)?;
        if !self.has_begun {
            check_names(request.initial_resource_versions.len())?;
            self.sent.extend(request.initial_resource_versions.clone());
        }
        self.has_begun = true;
        for name in &request.resource_names_unsubscribe {
            self.names.remove(name);
            self.sent.remove(name);
        }
        check_names(self.names.len() + request.resource_names_subscribe.len())?;
        for name in &request.resource_names_subscribe {
            // Asked for again is asked to be sent again, unless this is the first request and says what is there.
            if !self.names.insert(name.clone()) {
                self.sent.remove(name);
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }

    /// What is new and what is gone; none if neither.
    fn answer(&mut self, known: &Known) -> Option<DeltaDiscoveryResponse> {
        let names = self.names();
        // Without names nothing is asked for: the wildcard belongs to other kinds of resources.
        let mut found = if names.is_empty() { BTreeMap::new() } else { secrets(&names, known) };
        let removed: Vec<_> = self.sent.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        found.retain(|name, sealed| self.sent.get(name) != Some(&sealed.version));
        if found.is_empty() && removed.is_empty() {
            return None;
        }
        removed.iter().for_each(|name| drop(self.sent.remove(name)));
        let resource = |(name, sealed): (String, super::secrets::Sealed)| {
            self.sent.insert(name.clone(), sealed.version.clone());
            Resource { version: sealed.version, resource: Some(sealed.secret), name }
        };
        let resources: Vec<_> = found.into_iter().map(resource).collect();
        self.nonce += 1;
        Some(DeltaDiscoveryResponse {
            system_version_info: String::new(),
            resources,
            type_url: SECRET.to_owned(),
            nonce: self.nonce.to_string(),
            removed_resources: removed,
        })
    }
}

//! Questions to the CA that this machine asks as itself, with the certificate it holds at that moment.

use std::sync::Arc;
use std::time::Duration;

use countersign_identity::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contact::{Answer, Contact};
use crate::dir::Dir;
use crate::error::AgentError;
use crate::identity::{self, Identity};
use crate::renew::enrolled;
use crate::route::Route;
use crate::stages::Uninterrupted;

/// Asks as the machine whose identity is in a directory.
#[derive(Clone, Debug)]
pub(crate) struct AsMachine {
    dir: Dir,
    route: Option<Arc<Route>>,
    clock: Arc<dyn Clock>,
}

impl AsMachine {
    /// As the machine of `dir`, at the addresses of `route` or where its certificate came from.
    pub(crate) fn new(dir: Dir, route: Option<Arc<Route>>, clock: Arc<dyn Clock>) -> Self {
        Self { dir, route, clock }
    }

    /// The identity it asks as.
    pub(crate) fn identity(&self) -> Result<Identity, AgentError> {
        enrolled(&self.dir)
    }

    #[cfg(feature = "workload-api")]
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Answer<A>, AgentError> {
        let identity = self.identity()?;
        let known = Route::new([identity.url().clone()]);
        self.contact(&identity, &known)?.post(path, body).await
    }

    pub(crate) async fn form<A: DeserializeOwned>(&self, path: &str, form: &str) -> Result<A, AgentError> {
        let identity = self.identity()?;
        let known = Route::new([identity.url().clone()]);
        Ok(self.contact(&identity, &known)?.form(path, form).await?.body)
    }

    pub(crate) async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        patience: Duration,
    ) -> Result<Answer<A>, AgentError> {
        let identity = self.identity()?;
        let known = Route::new([identity.url().clone()]);
        self.contact(&identity, &known)?.get(path, patience).await
    }

    fn contact<'a>(&'a self, identity: &'a Identity, known: &'a Route) -> Result<Contact<'a>, AgentError> {
        let own = identity.own().map_err(|error| {
            AgentError::failed(format!("the identity cannot be used: {error}")).with_hint(identity::ANEW)
        })?;
        Ok(Contact {
            route: self.route.as_deref().unwrap_or(known),
            pin: identity.pin(),
            own: Some(own),
            clock: Arc::clone(&self.clock),
            stages: &Uninterrupted,
        })
    }
}

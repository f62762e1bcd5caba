//! A page of the web whose server is known by its host name, such as the keys of an authorization server.

use std::fmt;
use std::sync::Arc;

use countersign_identity::Clock;
use tokio::time::timeout;

use super::WebRoots;
use super::fetch::{Door, LIMIT, fetch};
use super::url::EndpointUrl;
use crate::own::SetupError;
use crate::provider::provider;
use crate::tls;

/// A page, and by what its server is known.
#[derive(Debug)]
pub(crate) struct WebPage {
    url: EndpointUrl,
    door: Door,
}

impl WebPage {
    pub(crate) fn new(
        url: EndpointUrl,
        roots: &WebRoots,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let config = tls::web_config(&provider(), clock, Arc::clone(&roots.0), None)?;
        Ok(Self { url, door: Door::Web(config) })
    }

    /// What stands there now.
    pub(crate) async fn fetch(&self) -> Result<Vec<u8>, String> {
        let fetched = timeout(LIMIT, fetch(&self.door, &self.url)).await;
        let late = |_| format!("it did not answer within {LIMIT:?}");
        fetched.map_err(late)?.map(Into::into).map_err(|fault| fault.to_string())
    }
}

impl fmt::Display for WebPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

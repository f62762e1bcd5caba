//! Questions to the CA that this machine asks as itself, with the certificate it holds at that moment.

use std::sync::Arc;
use std::time::Duration;

use countersign_api::ProblemCode;
#[cfg(feature = "workload-api")]
use countersign_api::paths;
use countersign_identity::{Clock, Serial};
use countersign_verifier::OwnIdentity;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contact::{Answer, Contact};
use crate::dir::Dir;
use crate::error::AgentError;
use crate::forgotten::Forgotten;
use crate::identity::{self, Identity};
use crate::renew::enrolled;
use crate::roots::Roots;
use crate::route::Route;
use crate::stages::Uninterrupted;

/// Asks as the machine whose identity is in a directory.
#[derive(Clone, Debug)]
pub(crate) struct AsMachine {
    dir: Dir,
    route: Option<Arc<Route>>,
    clock: Arc<dyn Clock>,
    forgotten: Arc<Forgotten>,
}

impl AsMachine {
    /// As the machine of `dir`, at the addresses of `route` or where its certificate came from.
    pub(crate) fn new(dir: Dir, route: Option<Arc<Route>>, clock: Arc<dyn Clock>) -> Self {
        Self { dir, route, clock, forgotten: Arc::default() }
    }

    /// Who hears that the CA does not know the certificate; default nobody.
    pub(crate) fn heard_by(self, forgotten: &Arc<Forgotten>) -> Self {
        Self { forgotten: Arc::clone(forgotten), ..self }
    }

    /// The identity it asks as.
    pub(crate) fn identity(&self) -> Result<Identity, AgentError> {
        enrolled(&self.dir)
    }

    #[cfg(feature = "workload-api")]
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The roots it believes.
    #[cfg(feature = "workload-api")]
    pub(crate) fn roots(&self) -> Result<Roots, AgentError> {
        Roots::held(self.dir.path(), self.identity()?.pin())
    }

    /// Asks for the roots documents and walks them.
    #[cfg(feature = "workload-api")]
    pub(crate) async fn walk_roots(&self) -> Result<Roots, AgentError> {
        let Asking { known, own, roots, .. } = self.asking()?;
        let told = self.contact(&known, own, &roots).get(paths::ROOTS, Duration::ZERO).await?;
        roots.walk(&told.body)?;
        Ok(roots)
    }

    pub(crate) async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Answer<A>, AgentError> {
        let Asking { known, own, roots, serial } = self.asking()?;
        self.heed(serial, self.contact(&known, own, &roots).post(path, body).await)
    }

    pub(crate) async fn form<A: DeserializeOwned>(&self, path: &str, form: &str) -> Result<A, AgentError> {
        let Asking { known, own, roots, serial } = self.asking()?;
        let answer = self.contact(&known, own, &roots).form(path, form).await;
        Ok(self.heed(serial, answer)?.body)
    }

    pub(crate) async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        patience: Duration,
    ) -> Result<Answer<A>, AgentError> {
        let Asking { known, own, roots, serial } = self.asking()?;
        self.heed(serial, self.contact(&known, own, &roots).get(path, patience).await)
    }

    /// Takes note of a CA that does not know the certificate it was asked with.
    fn heed<A>(&self, serial: Serial, answer: Result<A, AgentError>) -> Result<A, AgentError> {
        answer.inspect_err(|error| {
            if error.code() == Some(ProblemCode::CertificateUnknown) {
                self.forgotten.note(serial);
            }
        })
    }

    fn asking(&self) -> Result<Asking, AgentError> {
        let identity = self.identity()?;
        let own = identity.own().map_err(|error| {
            AgentError::failed(format!("the identity cannot be used: {error}")).with_hint(identity::ANEW)
        })?;
        let roots = Roots::held(self.dir.path(), identity.pin())?;
        let serial = identity.serial();
        Ok(Asking { known: Route::new([identity.url().clone()]), own, roots, serial })
    }

    fn contact<'a>(&'a self, known: &'a Route, own: Arc<OwnIdentity>, roots: &'a Roots) -> Contact<'a> {
        Contact {
            route: self.route.as_deref().unwrap_or(known),
            roots,
            own: Some(own),
            clock: Arc::clone(&self.clock),
            stages: &Uninterrupted,
        }
    }
}

/// What one question is asked with.
struct Asking {
    /// Where the certificate came from.
    known: Route,
    own: Arc<OwnIdentity>,
    roots: Roots,
    /// The certificate's.
    serial: Serial,
}

//! Renewal and recovery: the certificate, valid or expired, proves who asks for the next one.

use std::sync::Arc;

use countersign_api::{CertificateResponse, ProblemCode, RenewRequest, paths};
use countersign_identity::Clock;
use countersign_verifier::SystemClock;

use crate::answer::Accepted;
use crate::attempt::Action;
use crate::contact::Contact;
use crate::dir::{Dir, Held};
use crate::endpoint::Endpoint;
use crate::error::AgentError;
use crate::generation::Publication;
use crate::identity::{self, Identity};
use crate::outputs::Outputs;
use crate::pending::Purpose;
use crate::roots::Roots;
use crate::route::Route;
use crate::stages::{Stage, Stages, Uninterrupted};

/// How to renew. `default()` suits everybody but tests.
#[derive(Clone, Debug)]
pub struct RenewOptions {
    route: Option<Arc<Route>>,
    outputs: Outputs,
    clock: Arc<dyn Clock>,
    stages: Arc<dyn Stages>,
}

impl Default for RenewOptions {
    fn default() -> Self {
        Self {
            route: None,
            outputs: Outputs::default(),
            clock: Arc::new(SystemClock),
            stages: Arc::new(Uninterrupted),
        }
    }
}

impl RenewOptions {
    /// Other addresses of the same CA than the one that led to the identity; the one that answers is kept for the
    /// renewals after it. None keeps to that one.
    #[must_use]
    pub fn addresses(self, addresses: &[Endpoint]) -> Self {
        let route = (!addresses.is_empty()).then(|| Arc::new(Route::new(addresses.iter().cloned())));
        Self { route, ..self }
    }

    /// As [`addresses`](Self::addresses), shared with whoever else asks the CA.
    pub(crate) fn route(self, route: Option<Arc<Route>>) -> Self {
        Self { route, ..self }
    }

    /// For whom the files are; default the agent alone.
    #[must_use]
    pub fn outputs(self, outputs: Outputs) -> Self {
        Self { outputs, ..self }
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Who hears of the stages; default nobody.
    #[must_use]
    pub fn stages(self, stages: Arc<dyn Stages>) -> Self {
        Self { stages, ..self }
    }
}

/// Gets the next certificate, for a new key, and publishes it. An expired certificate is presented all the same:
/// whether it has expired, the CA's clock decides. Whatever stops it, running it again goes on with the same key.
///
/// # Errors
/// Refused by the CA or on our own judgement of it; unreachable; or something on this machine in the way.
pub async fn renew(dir: &Dir, options: &RenewOptions) -> Result<Identity, AgentError> {
    obtain(dir, options, Action::Renew, paths::RENEW).await
}

/// Comes back after expiry: the same as [`renew`] over the expired certificate, where the CA allows it for a while, and
/// once.
///
/// # Errors
/// As [`renew`].
pub async fn recover(dir: &Dir, options: &RenewOptions) -> Result<Identity, AgentError> {
    obtain(dir, options, Action::Recover, paths::RECOVER).await
}

async fn obtain(
    dir: &Dir,
    options: &RenewOptions,
    action: Action,
    path: &str,
) -> Result<Identity, AgentError> {
    // Looked at before the lock is taken, which would make the directory.
    dir.relink()?;
    enrolled(dir)?;
    let held = dir.hold()?;
    // And after: somebody else may have renewed in between.
    let before = enrolled(dir)?;
    let end = next(&held, &before, options, path).await;
    held.note(|record| record.ended(action, options.clock.now(), &end));
    end
}

pub(crate) fn enrolled(dir: &Dir) -> Result<Identity, AgentError> {
    dir.identity()?.ok_or_else(|| {
        AgentError::failed(format!("{} holds no identity", dir.path().display()))
            .with_hint("enroll first: countersign-agent enroll --invitation … --dir …")
    })
}

async fn next(
    held: &Held<'_>,
    before: &Identity,
    options: &RenewOptions,
    path: &str,
) -> Result<Identity, AgentError> {
    let stages = &*options.stages;
    held.prepare(&options.outputs)?;
    let purpose = Purpose::Renew(before.serial());
    let key = held.pending_key(&purpose)?;
    stages.reached(Stage::PendingKeyDurable)?;
    let known = Route::new([before.url().clone()]);
    let route = options.route.as_deref().unwrap_or(&known);
    let own = before.own().map_err(|error| {
        AgentError::failed(format!("the identity cannot be used: {error}")).with_hint(identity::ANEW)
    })?;
    let clock = Arc::clone(&options.clock);
    let roots = Roots::held(held.path(), before.pin())?;
    let contact = Contact { route, roots: &roots, own: Some(own), clock, stages };
    // A request to recover has the same form.
    let answer = contact.post::<_, CertificateResponse>(path, &RenewRequest { csr: key.csr()? }).await;
    let answer = match answer {
        Err(error) if error.code() == Some(ProblemCode::KeyInUse) => {
            // This key will never be certified; the next attempt makes another.
            held.forget(&purpose)?;
            return Err(error);
        }
        other => other?,
    };
    contact.follow_roots(&answer.body.bundle).await;
    let accepted = Accepted::judge(&answer.body, &key, &roots, &options.clock)?.continues(before)?;
    let publication = accepted.publication(&key, before.pin(), &answer.endpoint, before.redeemed.clone())?;
    held.publish(&Publication { outputs: options.outputs.clone(), ..publication }, &purpose, stages)
}

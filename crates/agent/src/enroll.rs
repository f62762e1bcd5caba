//! Enrollment: an invitation becomes an identity.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_api::{CertificateResponse, EnrollRequest, Invitation, paths};
use countersign_identity::Clock;
use countersign_verifier::SystemClock;

use crate::answer::Accepted;
use crate::attempt::Action;
use crate::contact::Contact;
use crate::dir::{Dir, Held};
use crate::endpoint::Endpoint;
use crate::error::AgentError;
use crate::identity::{self, Identity, Pin};
use crate::outputs::Outputs;
use crate::pending::Purpose;
use crate::roots::Roots;
use crate::route::Route;
use crate::stages::{Stage, Stages, Uninterrupted};

/// How to enroll. Made by [`EnrollOptions::new`]; the rest has defaults.
#[derive(Clone, Debug)]
pub struct EnrollOptions {
    invitation: Invitation,
    dir: PathBuf,
    url: Option<Endpoint>,
    replace: bool,
    clock: Arc<dyn Clock>,
    stages: Arc<dyn Stages>,
}

impl EnrollOptions {
    /// Redeem `invitation`, keep the identity in `dir`.
    #[must_use]
    pub fn new(invitation: Invitation, dir: impl Into<PathBuf>) -> Self {
        Self {
            invitation,
            dir: dir.into(),
            url: None,
            replace: false,
            clock: Arc::new(SystemClock),
            stages: Arc::new(Uninterrupted),
        }
    }

    /// Another way to the same CA than the invitation's URL, as through a forwarded port. Who answers there must
    /// still be the pinned CA.
    #[must_use]
    pub fn url(self, url: Endpoint) -> Self {
        Self { url: Some(url), ..self }
    }

    /// Redeem the invitation even though it was redeemed into this directory already, or the directory holds a valid
    /// identity of another SPIFFE ID or another CA; default no.
    #[must_use]
    pub fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
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

/// How an enrollment ended well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Enrolled {
    /// The invitation was redeemed.
    Now(Identity),
    /// The invitation was redeemed into the directory already and its identity is valid; nothing was sent.
    Before(Identity),
}

impl Enrolled {
    /// The identity, whenever it came about.
    #[must_use]
    pub fn into_identity(self) -> Identity {
        match self {
            Self::Now(identity) | Self::Before(identity) => identity,
        }
    }
}

/// Redeems an invitation and publishes the identity; does nothing where that has happened already. Gives up within
/// 10 s. Whatever stops it, running it again goes on with the same key, and the CA answers with the same certificate.
///
/// # Errors
/// Refused by the CA or on our own judgement of it; unreachable; or something on this machine in the way.
pub async fn enroll(options: &EnrollOptions) -> Result<Identity, AgentError> {
    enroll_or_keep(options).await.map(Enrolled::into_identity)
}

/// As [`enroll`], and tells whether the invitation was redeemed now.
///
/// # Errors
/// As [`enroll`].
pub async fn enroll_or_keep(options: &EnrollOptions) -> Result<Enrolled, AgentError> {
    let pin = Pin::of(&options.invitation)?;
    let url = match &options.url {
        Some(url) => url.clone(),
        None => options.invitation.url.parse().map_err(|error| {
            AgentError::refused(format!("the invitation's URL cannot be used: {error}"))
                .with_hint("give the CA's URL with --url")
        })?,
    };
    let dir = Dir::at(&options.dir);
    let held = dir.hold()?;
    held.relink()?;
    let standing = standing(&dir, &pin, options)?;
    if let Some(identity) = &standing
        && identity.redeemed == purpose(options).invitation()
    {
        identity.own().map_err(|error| {
            AgentError::failed(format!(
                "the invitation was redeemed here already, and the identity cannot be used: {error}"
            ))
            .with_hint(identity::ANEW)
        })?;
        return Ok(Enrolled::Before(identity.clone()));
    }
    let end = redeem(&held, options, &pin, &url, standing.as_ref()).await;
    held.note(|record| record.ended(Action::Enroll, options.clock.now(), &end));
    end.map(Enrolled::Now)
}

/// The valid identity that nothing but the same identity may replace; none if anything may.
fn standing(dir: &Dir, pin: &Pin, options: &EnrollOptions) -> Result<Option<Identity>, AgentError> {
    if options.replace {
        return Ok(None);
    }
    let Some(identity) = dir.identity()? else { return Ok(None) };
    if !identity.validity().contains(options.clock.now()) {
        return Ok(None);
    }
    let held = identity.pin();
    if held == pin {
        return Ok(Some(identity));
    }
    let error = AgentError::refused(format!(
        "{} holds a valid identity of another CA: {} under root {}, the invitation is for {} under root {}",
        dir.path().display(),
        identity.spiffe_id(),
        held.fingerprint(),
        pin.trust_domain,
        pin.fingerprint()
    ));
    Err(error.with_hint("choose another --dir, or give --replace to put the new identity in its place"))
}

fn purpose(options: &EnrollOptions) -> Purpose {
    Purpose::redeem(&options.invitation.secret)
}

async fn redeem(
    held: &Held<'_>,
    options: &EnrollOptions,
    pin: &Pin,
    url: &Endpoint,
    standing: Option<&Identity>,
) -> Result<Identity, AgentError> {
    let stages = &*options.stages;
    held.prepare(&Outputs::default())?;
    let purpose = purpose(options);
    let key = held.pending_key(&purpose)?;
    stages.reached(Stage::PendingKeyDurable)?;
    let route = Route::new([url.clone()]);
    let roots = Roots::held(held.path(), pin)?;
    let contact =
        Contact { route: &route, roots: &roots, own: None, clock: Arc::clone(&options.clock), stages };
    let request = EnrollRequest { invitation: options.invitation.to_string(), csr: key.csr()? };
    let answer = contact.post::<_, CertificateResponse>(paths::ENROLL, &request).await?;
    contact.follow_roots(&answer.body.bundle).await;
    let accepted = Accepted::judge(&answer.body, &key, &roots, &options.clock)?;
    if let Some(standing) = standing {
        accepted.replaces(standing)?;
    }
    held.publish(&accepted.publication(&key, pin, url, purpose.invitation())?, &purpose, stages)
}

//! One workload's identity: issued when first wanted, renewed in its window while in use. The key is durable before the CA
//! hears of it, sealed, and is never sent.

use std::sync::Arc;
use std::time::Duration;

use countersign_api::{CertificateResponse, ProblemCode, WorkloadRequest, paths};
use countersign_identity::{Serial, SpiffeId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::Custody;
use super::shelf;
use super::svid::Svid;
use super::turns::Turn;
use super::view::Trouble;
use crate::answer::Accepted;
use crate::dir::Dir;
use crate::error::AgentError;
use crate::identity::Identity;
use crate::outputs::Outputs;
use crate::pending::Purpose;
use crate::schedule::{Action, Event, Failure, Lease, Schedule};
use crate::stages::Uninterrupted;

/// The shortest time between two attempts for one identity, as its schedule has it.
const BREATH: Duration = Duration::from_secs(1);
/// Long enough for everybody who was called to join the line, too short to matter.
const GATHERING: Duration = Duration::from_millis(50);

/// Keeps one identity until nobody uses it any more.
pub(super) async fn keep(custody: Arc<Custody>, id: SpiffeId) {
    let dir = Dir::at(shelf::place(&custody, &id));
    let mut schedule = Schedule::new(StdRng::from_rng(&mut rand::rng()));
    let mut orders = custody.orders.subscribe();
    let mut event =
        shelf::found(&custody, &id).map_or(Event::RenewNow, |found| Event::Loaded(Lease::from(&found)));
    let (mut returns, mut hurries) = (custody.returns.subscribe(), custody.hurries.subscribe());
    // Whether the CA was away at the last attempt, and did not say for how long.
    let (mut is_away, mut is_called) = (false, false);
    loop {
        let (_, action) = schedule.on(event, custody.now());
        event = match action {
            Action::Wait(pause) => tokio::select! {
                () = tokio::time::sleep(pause) => Event::Tick,
                _ = orders.changed() => Event::RenewNow,
                _ = hurries.changed() => custody.hurries.of(&id, serial(&custody, &id)),
                _ = returns.changed(), if is_away => {
                    tokio::time::sleep(BREATH).await;
                    is_called = true;
                    Event::RenewNow
                }
            },
            // Nobody uses it, so nobody misses it.
            _ if !is_in_use(&custody, &id) => return,
            // The machine's certificate speaks for it, so an expired one is no other case; nobody asks for its window.
            Action::Renew | Action::Recover | Action::AskWindow => {
                let turn = turn(&custody, &id, is_called).await;
                returns.mark_unchanged();
                // Boxed: what an issuance needs of memory is there only while it goes on.
                let end = Box::pin(issue(&custody, &dir, &id)).await;
                drop(turn);
                is_called = false;
                match end {
                    Ok(identity) => {
                        if is_away {
                            custody.ca_is_back();
                        }
                        is_away = false;
                        Event::Renewed(Lease::from(&identity))
                    }
                    Err(error) => {
                        failed(&custody, &id, &error);
                        let (failure, retry_after) = (Failure::from(&error), error.retry_after());
                        is_away = failure == Failure::Passing && retry_after.is_none()
                            || is_healed_by_renewal(&error);
                        Event::Failed { failure, retry_after }
                    }
                }
            }
        };
    }
}

/// The certificate that is held.
fn serial(custody: &Custody, id: &SpiffeId) -> Option<Serial> {
    custody.view.borrow().svids.get(id).map(|svid| svid.serial())
}

/// Waits until it is this one's turn at the CA. Those who were called together first see who else was.
async fn turn(custody: &Custody, id: &SpiffeId, is_called: bool) -> Turn {
    let end = custody.view.borrow().svids.get(id).map(|svid| svid.validity().not_after());
    let place = custody.turns.join(end, id);
    if is_called {
        tokio::time::sleep(GATHERING).await;
    }
    place.turn().await
}

/// Whether somebody holds it, or did within the life of its certificate: a process that reads files or asks now and then
/// finds it warm.
fn is_in_use(custody: &Custody, id: &SpiffeId) -> bool {
    let held = custody.view.borrow().svids.get(id).map(|svid| svid.validity().lifetime());
    custody.uses.is_in_use(id, custody.now(), held.unwrap_or(Duration::from_secs(60)))
}

async fn issue(custody: &Custody, dir: &Dir, id: &SpiffeId) -> Result<Identity, AgentError> {
    let machine = custody.machine.identity()?;
    let held = dir.hold()?.keeping(custody.at_rest());
    held.prepare(&Outputs::default())?;
    // What cannot be understood was damaged from outside, and what comes now takes its place.
    let before = dir.identity().ok().flatten();
    let purpose = before.map_or(Purpose::First, |before| Purpose::Renew(before.serial()));
    let key = held.pending_key(&purpose)?;
    let request = WorkloadRequest { spiffe_id: id.to_string(), csr: key.csr()? };
    let answer = match custody.machine.post::<_, CertificateResponse>(paths::WORKLOAD, &request).await {
        Err(error) if error.code() == Some(ProblemCode::KeyInUse) => {
            // This key will never be certified; the next attempt makes another.
            held.forget(&purpose)?;
            return Err(error);
        }
        other => other?,
    };
    let roots = custody.machine.roots()?;
    if roots.differ_from(&answer.body.bundle) {
        custody.follow_roots().await;
    }
    let accepted =
        Accepted::judge(&answer.body, &key, &custody.machine.roots()?, custody.machine.clock())?.names(id)?;
    let publication = accepted.publication(&key, machine.pin(), &answer.endpoint, None)?;
    let identity = held.publish(&publication, &purpose, &Uninterrupted)?;
    let svid = Svid::of_workload(&identity, &custody.at_rest())?;
    shelf::take(custody, svid.ok_or_else(|| AgentError::failed("the key that was sealed does not open"))?);
    tracing::info!(%id, serial = %identity.serial(), until = %identity.validity().not_after(), "workload identity issued");
    Ok(identity)
}

/// Whether the machine's own renewal, which is under way, changes the answer.
fn is_healed_by_renewal(error: &AgentError) -> bool {
    error.code() == Some(ProblemCode::CertificateUnknown)
}

fn failed(custody: &Custody, id: &SpiffeId, error: &AgentError) {
    tracing::warn!(%id, hint = error.hint_of_agent(), "workload identity not issued: {error}");
    let trouble = if error.is_lasting() && !is_healed_by_renewal(error) {
        Trouble::Refused(error.to_string())
    } else {
        Trouble::Away(error.to_string())
    };
    custody.view.send_if_modified(|view| {
        Arc::make_mut(view).troubles.insert(id.clone(), trouble.clone()) != Some(trouble)
    });
}

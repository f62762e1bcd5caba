//! The registrations under this machine, as the CA last told them: waited for, never polled at an interval.

use std::sync::Arc;
use std::time::Duration;

use countersign_api::{WorkloadRegistrations, paths};
use countersign_identity::SpiffeId;

use super::entitlement::Entitlement;
use super::view::View;
use super::{Custody, memory};
use crate::pause::Pause;

/// How long the CA may hold a request (DESIGN §7).
const HELD: Duration = Duration::from_secs(55);
/// The shortest time between two questions, however fast registrations change.
const BREATH: Duration = Duration::from_secs(1);
const FILE: &str = "registrations.json";

/// Takes up what the CA told before the last restart; until the CA tells it again nobody gets anything else.
pub(super) fn remembered(custody: &Custody) {
    if let Some(told) = memory::read::<WorkloadRegistrations>(custody, FILE) {
        custody.view.send_modify(|view| take(Arc::make_mut(view), &told));
    }
}

/// Hears of every change, for ever.
pub(super) async fn follow(custody: Arc<Custody>) {
    let mut pause = Pause::new(BREATH, Duration::from_secs(300));
    loop {
        let serial = custody.serial();
        let after = custody.view.borrow().sequence;
        let path = match after {
            Some(sequence) => format!("{}?after={sequence}", paths::REGISTRATIONS),
            None => paths::REGISTRATIONS.to_owned(),
        };
        let wait = match custody.machine.get::<WorkloadRegistrations>(&path, HELD).await {
            Ok(answer) => {
                pause.reset();
                heard(&custody, &answer.body);
                BREATH
            }
            Err(error) => {
                let wait = pause.after(error.retry_after(), error.is_lasting());
                tracing::warn!(
                    hint = error.hint_of_agent(),
                    "the registrations under this machine cannot be heard: {error}; trying again in {} s",
                    wait.as_secs()
                );
                wait
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = custody.renewed(serial) => pause.reset(),
        }
    }
}

/// The CA told how things stand.
fn heard(custody: &Custody, told: &WorkloadRegistrations) {
    let before = custody.view.borrow().sequence;
    if before == Some(told.sequence) {
        return;
    }
    if let Err(error) = memory::write(custody, FILE, told) {
        tracing::warn!(%error, "the registrations cannot be kept for the next start");
    }
    custody.view.send_modify(|view| take(Arc::make_mut(view), told));
    tracing::info!(
        sequence = told.sequence,
        count = told.registrations.len(),
        "registrations under this machine"
    );
}

fn take(view: &mut View, told: &WorkloadRegistrations) {
    let understood = told.registrations.iter().filter_map(|registration| {
        Entitlement::of_workload(registration)
            .inspect_err(|reason| tracing::warn!("a registration is left out: {reason}"))
            .ok()
    });
    let is_ours = |id: &SpiffeId| view.trust_domain == Some(id.trust_domain());
    view.workloads =
        understood.filter(|it| is_ours(&it.id) && view.machine.as_ref() != Some(&it.id)).collect();
    view.sequence = Some(told.sequence);
}

//! Workloads that the CA wants renewed sooner than their windows say, as it last told the machine.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_api::WorkloadWindow;
use countersign_identity::{Serial, SpiffeId};
use tokio::sync::watch;

use super::Custody;
use crate::identity::Window;
use crate::plain::plain;
use crate::schedule::Event;

/// Nobody asks for a workload: its machine hears of all.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// By whom they name: the certificate that is meant, and its window now.
#[derive(Debug, Default)]
pub(super) struct Hurries {
    by_id: watch::Sender<BTreeMap<SpiffeId, (Serial, Window)>>,
}

impl Hurries {
    /// Changes with what the CA tells; the first time there is one.
    pub(super) fn subscribe(&self) -> watch::Receiver<BTreeMap<SpiffeId, (Serial, Window)>> {
        let mut receiver = self.by_id.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// What is wanted of the certificate with this serial, for its schedule.
    pub(super) fn of(&self, id: &SpiffeId, serial: Option<Serial>) -> Event {
        match self.by_id.borrow().get(id) {
            Some((meant, window)) if Some(*meant) == serial => {
                Event::Window { window: *window, ask_again: NEVER }
            }
            _ => Event::Tick,
        }
    }
}

impl Custody {
    /// The CA wants these renewed; those it named before and names no more were.
    pub(crate) fn hurry(&self, told: &[WorkloadWindow]) {
        let (view, before) = (self.view.borrow().clone(), self.hurries.by_id.borrow().clone());
        let understood = told.iter().filter_map(|it| {
            let id: SpiffeId = it.spiffe_id.parse().ok()?;
            let window =
                Window { after: it.renew_after.parse().ok()?, before: it.renew_before.parse().ok()? };
            // One that is not held is issued anew in any case; and each order is about what was held when it came.
            let held = view.svids.get(&id).filter(|_| view.is_workload(&id))?.serial();
            let meant = before.get(&id).filter(|(_, told)| *told == window).map_or(held, |(meant, _)| *meant);
            Some((id, (meant, window, plain(&it.reason, 200))))
        });
        let understood: BTreeMap<_, _> = understood.collect();
        self.hurries.by_id.send_if_modified(|by_id| {
            for (id, (serial, window, reason)) in &understood {
                if by_id.get(id) != Some(&(*serial, *window)) {
                    tracing::info!(%id, before = %window.before, reason, "the CA moved a workload's renewal window");
                }
            }
            let told = understood.into_iter().map(|(id, (serial, window, _))| (id, (serial, window))).collect();
            let is_new = *by_id != told;
            *by_id = told;
            is_new
        });
    }
}

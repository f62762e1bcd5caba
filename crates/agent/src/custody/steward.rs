//! Which workloads' identities are kept: a keeper for each that is registered and in use, none for any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_identity::SpiffeId;
use tokio::task::{AbortHandle, JoinSet};

use super::{Custody, keeper, shelf};
use crate::generation;

/// Begins and ends keepers, for ever.
pub(super) async fn keep(custody: Arc<Custody>) {
    let mut view = custody.watch();
    let mut keepers = JoinSet::new();
    let mut running: BTreeMap<SpiffeId, AbortHandle> = BTreeMap::new();
    let mut tidied = None;
    loop {
        running.retain(|_, keeper| !keeper.is_finished());
        let sequence = view.borrow_and_update().sequence;
        if sequence != tidied {
            tidied = sequence;
            drop_unregistered(&custody, &mut running);
        }
        for id in custody.uses.held() {
            if custody.view.borrow().is_workload(&id) && !running.contains_key(&id) {
                running.insert(id.clone(), keepers.spawn(keeper::keep(Arc::clone(&custody), id)));
            }
        }
        tokio::select! {
            () = custody.uses.begun.notified() => {}
            _ = view.changed() => {}
            Some(_) = keepers.join_next() => {}
        }
    }
}

/// Ends the keeping of everything that is no longer registered, and removes it from memory and disk.
fn drop_unregistered(custody: &Custody, running: &mut BTreeMap<SpiffeId, AbortHandle>) {
    let registered: Vec<_> = {
        let view = custody.view.borrow();
        view.workloads.iter().map(|entitlement| entitlement.id.clone()).collect()
    };
    running.retain(|id, keeper| {
        let stays = registered.contains(id);
        if !stays {
            keeper.abort();
            custody.uses.forget(id);
        }
        stays
    });
    custody.view.send_if_modified(|view| {
        let view = Arc::make_mut(view);
        let before = view.svids.len();
        let machine = view.machine.clone();
        view.svids.retain(|id, _| Some(id) == machine.as_ref() || registered.contains(id));
        view.troubles.retain(|id, _| registered.contains(id));
        view.svids.len() != before
    });
    let homes: Vec<_> = registered.iter().map(|id| shelf::place(custody, id)).collect();
    for name in generation::list(&custody.home).unwrap_or_default() {
        let path = custody.home.join(name);
        if path.is_dir() && !homes.contains(&path) {
            match generation::remove(&path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "an identity that is no longer registered is removed")
                }
                Err(error) => tracing::warn!("what is no longer registered stays on the disk: {error}"),
            }
        }
    }
}

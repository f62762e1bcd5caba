//! What identities this machine may hand to its processes, to which, and what of them it holds.
//!
//! One [`View`] says all of it; every change makes a new one, and whoever serves a process waits for the next. Identities
//! of workloads are issued when first wanted, renewed while somebody uses them, and forgotten afterwards.

mod authorities;
mod entitlement;
mod hurries;
mod keeper;
mod kept;
mod memory;
mod registrations;
mod shares;
mod shelf;
mod steward;
mod svid;
mod tokens;
mod turns;
mod uses;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_identity::{Serial, SpiffeId, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::as_machine::AsMachine;
use crate::at_rest::AtRest;
use crate::attest::Selector;
use crate::error::AgentError;
use crate::generation::WORKLOADS;
use crate::identity::Identity;
use crate::seal::Seal;
use crate::unlock;

pub(crate) use svid::{Svid, concatenated, pem};
pub(crate) use tokens::TokenError;
pub(crate) use uses::InUse;
pub(crate) use view::{Trouble, View};

use entitlement::Entitlement;
use hurries::Hurries;
use tokens::Tokens;
use turns::Turns;
use uses::Uses;

/// The identities of this machine, kept for its processes.
#[derive(Debug)]
pub(crate) struct Custody {
    machine: AsMachine,
    /// Who may have the machine's own identity: any of these sets.
    own: Vec<Vec<Selector>>,
    home: PathBuf,
    /// What keys of workloads are sealed with.
    seal: Arc<Seal>,
    view: watch::Sender<Arc<View>>,
    uses: Uses,
    tokens: Tokens,
    /// Who is issued when.
    turns: Turns,
    /// Counts the orders to renew everything.
    orders: watch::Sender<u64>,
    /// What the CA wants renewed sooner.
    hurries: Hurries,
    /// Counts how often somebody found the CA back after it had been away.
    returns: watch::Sender<u64>,
}

impl Custody {
    /// Everything that the directory of the machine holds. `credentials` is where the service manager puts secrets.
    pub(crate) fn open(
        home: &Path,
        machine: AsMachine,
        own: Vec<Vec<Selector>>,
        credentials: Option<&Path>,
    ) -> Result<Arc<Self>, AgentError> {
        let identity = machine.identity()?;
        let seal = Arc::new(unlock::obtain(home, credentials)?);
        let custody = Self {
            machine,
            own,
            home: home.join(WORKLOADS),
            seal,
            view: watch::Sender::default(),
            uses: Uses::default(),
            tokens: Tokens::default(),
            turns: Turns::default(),
            orders: watch::Sender::new(0),
            hurries: Hurries::default(),
            returns: watch::Sender::new(0),
        };
        custody.machine_is(&identity)?;
        registrations::remembered(&custody);
        authorities::remembered(&custody);
        shelf::remembered(&custody);
        Ok(Arc::new(custody))
    }

    /// Keeps everything as it must be, for as long as the set of tasks lives.
    pub(crate) fn keep(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(registrations::follow(Arc::clone(self)));
        tasks.spawn(authorities::follow(Arc::clone(self)));
        tasks.spawn(steward::keep(Arc::clone(self)));
    }

    /// The machine's own identity is this one now.
    pub(crate) fn machine_is(&self, identity: &Identity) -> Result<(), AgentError> {
        let svid = Arc::new(Svid::read(identity)?);
        let id = identity.spiffe_id().clone();
        let known = self.machine.roots()?.certificates();
        let roots = known.map_or_else(|| Svid::roots(identity), Ok)?;
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            view.own = self.own.iter().map(|selectors| Entitlement::of_machine(&id, selectors)).collect();
            view.trust_domain = Some(id.trust_domain());
            // The keys of tokens of another CA, to which the machine was enrolled before, are none of this one's.
            if !roots.iter().any(|root| view.roots.contains(root)) {
                view.authorities = Arc::default();
            }
            view.roots = roots;
            view.svids.retain(|held, _| Some(held) != view.machine.as_ref());
            view.machine = Some(id.clone());
            view.svids.insert(id, svid);
        });
        if self.view.borrow().troubles.values().any(|trouble| matches!(trouble, Trouble::Away(_))) {
            self.ca_is_back();
        }
        Ok(())
    }

    /// Catches up with the CA's roots: processes hear of new ones before the first certificate under them.
    pub(crate) async fn follow_roots(&self) {
        match self.machine.walk_roots().await {
            Ok(roots) => drop(self.view.send_if_modified(|view| match roots.certificates() {
                Some(roots) if roots != view.roots => {
                    Arc::make_mut(view).roots = roots;
                    true
                }
                _ => false,
            })),
            Err(error) => tracing::warn!(
                hint = error.hint_of_agent(),
                "the CA's roots documents cannot be followed, the roots known before stay: {error}"
            ),
        }
    }

    /// How keys of workloads lie on disk.
    fn at_rest(&self) -> AtRest {
        AtRest::Sealed(Arc::clone(&self.seal))
    }

    /// The serial number of the machine's certificate.
    fn serial(&self) -> Option<Serial> {
        self.view.borrow().serial()
    }

    /// Waits until the machine's certificate is another one: what was refused to the one before may be given now.
    async fn renewed(&self, serial: Option<Serial>) {
        let _ = self.watch().wait_for(|view| view.serial() != serial).await;
    }

    /// Renews every workload's identity that is in use.
    pub(crate) fn renew_now(&self) {
        self.orders.send_modify(|orders| *orders = orders.wrapping_add(1));
    }

    /// The CA was away and is back: whoever waits for its next attempt need not.
    fn ca_is_back(&self) {
        self.returns.send_modify(|returns| *returns = returns.wrapping_add(1));
    }

    /// How everything stands, now and from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Marks identities as in use for as long as the value lives, which issues those that are not there yet.
    pub(crate) fn use_of(self: &Arc<Self>, ids: impl IntoIterator<Item = SpiffeId>) -> InUse {
        InUse::begin(self, ids)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.machine.clock().now()
    }

    /// A JWT-SVID for one identity and audience, wanted by a process of this user: from memory, or from the CA.
    pub(crate) async fn token(
        self: &Arc<Self>,
        id: &SpiffeId,
        audience: &[String],
        uid: u32,
    ) -> Result<String, TokenError> {
        tokens::fetch(self, id, audience, uid).await
    }
}

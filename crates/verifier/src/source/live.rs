//! Live trust: the snapshots of one trust domain, judged as they come, kept on disk, put in force in one step.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use countersign_identity::{Clock, TrustBundle, TrustDomain};
use countersign_policy::{Policy, PolicyError};
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

mod kept;

use super::disk::Disk;
use super::health::{Counts, TrustHealth, TrustState};
use crate::clock::SystemClock;
use crate::gate::Gate;
use crate::provider::provider;
use crate::snapshot::{PartRef, Parts, Snapshot, SnapshotFault, SnapshotFile, Trusted};
use crate::staleness::HardLimit;
use crate::trust::{TrustError, TrustStore};

/// The policy before the first snapshot: nobody may do anything.
const NOTHING: &str = "version = 1\n";

/// Trust in one trust domain, kept right while the world changes. Cloning shares it.
///
/// Until a first snapshot is there, from disk or from a source, nobody of the domain is let in: without it nobody knows
/// who was revoked.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use countersign_verifier::{LiveTrust, bundle_from_pem};
/// use std::time::Duration;
///
/// let roots = bundle_from_pem("prod.example".parse()?, &std::fs::read("bundle.pem")?)?;
/// let trust = LiveTrust::anchored(roots).kept_in("/var/lib/ledger/trust").open()?;
/// // From a file that something else carries here; with the feature `http`, `follow_ca` asks the CA itself.
/// tokio::spawn(trust.clone().follow_file("/run/trust/snapshot.json".into(), Duration::from_secs(1)));
/// trust.ready().await;
/// println!("{}", trust.health().state.as_str());
/// // `trust.store()` goes to `ServerBuilder` and `ClientBuilder`, `trust.gate()` in front of the handlers.
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LiveTrust(Arc<Keeper>);

/// Live trust in the making; everything has a default but the roots.
#[derive(Debug)]
pub struct LiveTrustSettings {
    bundle: TrustBundle,
    store: Arc<TrustStore>,
    dir: Option<PathBuf>,
    limit: HardLimit,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
}

/// Why live trust could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveTrustError {
    /// The directory cannot be used.
    #[error("cannot keep trust in {}: {source}", dir.display())]
    Dir {
        /// Which.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The roots cannot be trusted.
    #[error(transparent)]
    Roots(#[from] TrustError),
    /// The policy before the first snapshot.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// What became of a snapshot that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is in force now.
    Adopted,
    /// It was in force before.
    Known,
}

struct Keeper {
    trust_domain: TrustDomain,
    store: Arc<TrustStore>,
    /// The roots alone, for talking to the CA: it must be reachable when all other trust has become too old.
    ca: Arc<TrustStore>,
    policy: Arc<ArcSwap<Policy>>,
    limit: HardLimit,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    disk: Option<Disk>,
    state: Mutex<State>,
    adopted: watch::Sender<bool>,
}

struct State {
    trusted: Trusted,
    held: Option<Snapshot>,
    policy_fault: Option<String>,
    last_fault: Option<String>,
    /// Why the snapshot in force is not on disk, if it should be.
    unkept: Option<String>,
    counts: Counts,
}

impl LiveTrust {
    /// Begins with the roots of a bundle, as a machine has them from its enrollment. They need not be the newest: roots
    /// documents lead on from there.
    #[must_use]
    pub fn anchored(bundle: TrustBundle) -> LiveTrustSettings {
        LiveTrustSettings {
            bundle,
            store: Arc::default(),
            dir: None,
            limit: HardLimit::default(),
            clock: Arc::new(SystemClock),
            provider: provider(),
        }
    }

    /// Judges a snapshot and puts it in force.
    ///
    /// `parts` must hold those that [`missing`](LiveTrust::missing) names.
    ///
    /// # Errors
    /// With the reason not to believe it; what was in force stays.
    pub fn offer(&self, jws: &[u8], parts: &Parts) -> Result<Offered, SnapshotFault> {
        let mut state = self.0.state();
        if let Some(held) = state.held.clone().filter(|held| held.jws() == jws) {
            state.last_fault = None;
            self.0.keep_at_last(&mut state, &held, parts);
            return Ok(Offered::Known);
        }
        let offered = self.0.judge(&state, jws, parts).and_then(|snapshot| {
            self.0.put_in_force(&mut state, &snapshot)?;
            Ok(snapshot)
        });
        match offered {
            Ok(snapshot) => {
                state.counts.adopted = state.counts.adopted.saturating_add(1);
                state.last_fault = None;
                self.0.keep(&mut state, &snapshot, parts);
                Ok(Offered::Adopted)
            }
            Err(fault) => Err(self.0.refused(&mut state, fault)),
        }
    }

    /// The same for a snapshot in one file.
    ///
    /// # Errors
    /// As [`offer`](LiveTrust::offer).
    pub fn offer_file(&self, octets: &[u8]) -> Result<Offered, SnapshotFault> {
        let file = SnapshotFile::read(octets).map_err(|fault| self.0.refused(&mut self.0.state(), fault))?;
        self.offer(file.jws(), file.parts())
    }

    /// The parts of a snapshot that are not held here yet, and after a failed write those that are not on disk. It is judged first:
    /// nobody is asked for parts in the name of a forgery.
    ///
    /// # Errors
    /// With the reason not to believe it.
    pub fn missing(&self, jws: &[u8]) -> Result<Vec<PartRef>, SnapshotFault> {
        let mut state = self.0.state();
        match state.trusted.judge(jws, self.0.clock.now(), &self.0.provider) {
            Ok(judged) => Ok(self.0.wanted(&state, &judged)),
            Err(fault) => Err(self.0.refused(&mut state, fault)),
        }
    }

    /// Waits for the first snapshot.
    pub async fn ready(&self) {
        // The sender lives as long as this does.
        let _ = self.0.adopted.subscribe().wait_for(|adopted| *adopted).await;
    }

    /// The bundles and snapshots in force, for [`ServerBuilder`](crate::ServerBuilder) and
    /// [`ClientBuilder`](crate::ClientBuilder).
    #[must_use]
    pub fn store(&self) -> Arc<TrustStore> {
        Arc::clone(&self.0.store)
    }

    /// A gate of the snapshot's policy; it changes with the snapshot.
    #[must_use]
    pub fn gate(&self) -> Gate {
        Gate::new(Arc::clone(&self.0.policy), Arc::clone(&self.0.clock))
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.0.state().held.clone()
    }

    /// How it is doing.
    #[must_use]
    pub fn health(&self) -> TrustHealth {
        let Keeper { limit, clock, policy, .. } = &*self.0;
        let state = self.0.state();
        let held = state.held.as_ref();
        TrustHealth {
            state: TrustState::of(held, *limit, clock),
            epoch: held.map(Snapshot::epoch),
            sequence: held.map(Snapshot::sequence),
            issued: held.map(Snapshot::issued),
            expires: held.map(Snapshot::expires),
            policy: *policy.load().version(),
            policy_fault: state.policy_fault.clone(),
            last_fault: state.last_fault.clone(),
            counts: state.counts,
        }
    }

    /// Notes that nothing could be had from a source.
    pub(super) fn unreachable(&self, fault: String) {
        let mut state = self.0.state();
        let word = TrustState::of(state.held.as_ref(), self.0.limit, &self.0.clock).as_str();
        tracing::warn!(trust_domain = %self.0.trust_domain, reason = fault, state = word, "no news of trust");
        state.counts.unreachable = state.counts.unreachable.saturating_add(1);
        state.last_fault = Some(fault);
    }
}

#[cfg(feature = "http")]
impl LiveTrust {
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.0.provider
    }
}

#[cfg(feature = "http")]
impl LiveTrust {
    /// Notes that a source answered and had nothing new.
    pub(super) fn no_news(&self) {
        let mut state = self.0.state();
        state.last_fault = state.unkept.clone();
    }

    pub(super) fn ca(&self) -> &Arc<TrustStore> {
        &self.0.ca
    }
}

impl LiveTrustSettings {
    /// A store that holds other trust domains as well.
    #[must_use]
    pub fn store(self, store: Arc<TrustStore>) -> Self {
        Self { store, ..self }
    }

    /// Keeps the last good snapshot in this directory, for the next start.
    #[must_use]
    pub fn kept_in(self, dir: impl AsRef<Path>) -> Self {
        Self { dir: Some(dir.as_ref().to_owned()), ..self }
    }

    /// How long to go on without a new snapshot; default a day.
    #[must_use]
    pub fn hard_limit(self, limit: HardLimit) -> Self {
        Self { limit, ..self }
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Another provider than [`provider`].
    #[must_use]
    pub fn provider(self, provider: Arc<CryptoProvider>) -> Self {
        Self { provider, ..self }
    }

    /// Opens it, and takes up what is kept on disk. A snapshot there that is damaged is said and left aside.
    ///
    /// # Errors
    /// When the roots may not sign, or the directory cannot be used.
    pub fn open(self) -> Result<LiveTrust, LiveTrustError> {
        let in_dir = |dir: &PathBuf| {
            Disk::open(dir).map_err(|source| LiveTrustError::Dir { dir: dir.clone(), source })
        };
        let keeper = Keeper {
            trust_domain: self.bundle.trust_domain().clone(),
            store: self.store,
            ca: Arc::new(TrustStore::new([self.bundle.clone()])?),
            policy: Arc::new(ArcSwap::from_pointee(Policy::parse(NOTHING, "policy.toml")?)),
            limit: self.limit,
            clock: self.clock,
            provider: self.provider,
            disk: self.dir.as_ref().map(in_dir).transpose()?,
            state: Mutex::new(State {
                trusted: Trusted::anchored(self.bundle),
                held: None,
                policy_fault: None,
                last_fault: None,
                unkept: None,
                counts: Counts::default(),
            }),
            adopted: watch::Sender::new(false),
        };
        keeper.take_up();
        Ok(LiveTrust(Arc::new(keeper)))
    }
}

impl Keeper {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; and what it holds is whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and says a refusal.
    fn refused(&self, state: &mut State, fault: SnapshotFault) -> SnapshotFault {
        state.counts.refused = state.counts.refused.saturating_add(1);
        state.last_fault = Some(fault.to_string());
        tracing::warn!(trust_domain = %self.trust_domain, reason = %fault, "trust snapshot refused");
        fault
    }

    fn judge(&self, state: &State, jws: &[u8], parts: &Parts) -> Result<Snapshot, SnapshotFault> {
        let judged = state.trusted.judge(jws, self.clock.now(), &self.provider)?;
        judged.complete(state.held.as_ref(), parts, &self.provider)
    }

    fn put_in_force(&self, state: &mut State, snapshot: &Snapshot) -> Result<(), SnapshotFault> {
        let unusable = |fault: TrustError| SnapshotFault::Malformed { what: fault.to_string() };
        self.ca.replace(snapshot.bundle()).map_err(unusable)?;
        match snapshot.policy() {
            Ok(policy) => {
                state.policy_fault = None;
                if policy.version() != self.policy.load().version() {
                    self.policy.store(Arc::clone(policy));
                }
            }
            Err(fault) => {
                tracing::error!(trust_domain = %self.trust_domain, fault, "policy refused, the one before stays");
                state.policy_fault = Some(fault.to_owned());
            }
        }
        self.store.adopt(snapshot, self.limit).map_err(unusable)?;
        tracing::info!(trust_domain = %self.trust_domain, epoch = snapshot.epoch(),
            sequence = snapshot.sequence(), issued = %snapshot.issued(), "trust snapshot in force");
        state.trusted = snapshot.trusted().clone();
        state.held = Some(snapshot.clone());
        self.adopted.send_replace(true);
        Ok(())
    }
}

impl fmt::Debug for LiveTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTrust")
            .field("trust_domain", &self.0.trust_domain)
            .field("state", &self.health().state)
            .finish_non_exhaustive()
    }
}

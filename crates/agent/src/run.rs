//! The long-running agent: keeps one identity valid.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_api::{RenewalWindow, paths};
use countersign_identity::{Clock, Timestamp, ValidityState, duration};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

use crate::as_machine::AsMachine;
use crate::attempt::Plan;
use crate::config::Config;
use crate::dir::Dir;
use crate::error::AgentError;
use crate::forgotten::{Forgotten, breath};
use crate::identity::{Identity, Window};
use crate::metrics::Counts;
use crate::notify::Notify;
use crate::plain::plain;
use crate::proof::{Proof, prove};
use crate::reload::reload;
use crate::renew::{RenewOptions, enrolled, recover, renew};
use crate::route::Route;
use crate::schedule::{Action, Event, Failure, Lease, Schedule, State};
use crate::serving::Serving;
use crate::stages::{Stages, Uninterrupted};

/// A reload command that failed is tried again after this: often enough to heal, not enough to fill a log.
const RELOAD_AGAIN: Duration = Duration::from_secs(60);

/// What an operator may tell a running agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Renew now (SIGHUP).
    RenewNow,
    /// End (SIGTERM).
    Stop,
}

/// How a piece of work ended.
enum Done {
    Waited,
    Asked(Event),
    Renewed(Box<Identity>),
    Failed(AgentError),
}

impl Done {
    fn of(end: Result<Identity, AgentError>) -> Self {
        match end {
            Ok(identity) => Self::Renewed(Box::new(identity)),
            Err(error) => Self::Failed(error),
        }
    }
}

/// Keeps one identity.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    dir: Dir,
    /// The addresses of the configuration; none keeps to where the certificate came from.
    route: Option<Arc<Route>>,
    clock: Arc<dyn Clock>,
    stages: Arc<dyn Stages>,
    notify: Notify,
    /// Where the service manager puts secrets for this process.
    credentials: Option<PathBuf>,
    /// The service must be told to reload again.
    untold: Arc<tokio::sync::Notify>,
    /// The certificate that the CA does not know.
    forgotten: Arc<Forgotten>,
}

impl Agent {
    /// An agent that works by `config` and `clock`.
    #[must_use]
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        let dir = Dir::at(&config.dir);
        let route = (!config.ca.is_empty()).then(|| Arc::new(Route::new(config.ca.iter().cloned())));
        let (stages, notify, untold) = (Arc::new(Uninterrupted), Notify::default(), Arc::default());
        let forgotten = Arc::default();
        Self { config, dir, route, clock, stages, notify, credentials: None, untold, forgotten }
    }

    /// The service manager that hears how it goes; default nobody.
    #[must_use]
    pub fn notify(self, notify: Notify) -> Self {
        Self { notify, ..self }
    }

    /// The directory in which the service manager puts secrets for this process; default none. Where it holds
    /// `countersign-agent.unlock`, keys of workloads are sealed under that.
    #[must_use]
    pub fn credentials(self, credentials: Option<PathBuf>) -> Self {
        Self { credentials, ..self }
    }

    /// Who hears of the stages; default nobody.
    #[must_use]
    pub fn stages(self, stages: Arc<dyn Stages>) -> Self {
        Self { stages, ..self }
    }

    /// Renews in time, again and again, until told to stop or nobody is left to tell it.
    ///
    /// # Errors
    /// At the start, when the directory holds no identity, or another agent keeps it; later only when a part of what serves
    /// processes has ended, so that the service manager starts all of it again.
    pub async fn run(&self, mut orders: Receiver<Order>) -> Result<(), AgentError> {
        self.dir.relink()?;
        let mut identity = enrolled(&self.dir)?;
        let _only_one = self.dir.hold_for_run()?;
        // Whatever serves processes ends with this function.
        let serving = Serving::begin(&self.config, &self.as_machine(), self.credentials.as_deref())?;
        let mut schedule = Schedule::new(StdRng::from_rng(&mut rand::rng())).asking();
        let mut event = Event::Loaded(Lease::from(&identity));
        let mut failure: Option<AgentError> = None;
        let mut counts = Counts::default();
        let mut reload_after = self.clock.now();
        tracing::info!(spiffe_id = %identity.spiffe_id(), dir = %self.dir.path().display(), "keeping");
        self.notify.ready();
        loop {
            let (state, action) = schedule.on(event, self.clock.now());
            if matches!(event, Event::Loaded(_) | Event::Renewed(_)) {
                serving.machine_is(&identity);
                if self.config.reload.is_none() {
                    // Somebody else reloads the service, as the units of `install` do.
                    self.prove(&identity);
                }
            }
            if !matches!(event, Event::Tick | Event::WindowUnknown) {
                self.tell(&identity, failure.take(), schedule.next_attempt());
                self.note(state, schedule.next_attempt());
                counts.note(&event);
                self.measure(counts, &identity, state, schedule.next_attempt());
                self.notify.alive(Some(&format!("{state:?}, {}", until(&identity))));
            }
            self.notify.alive(None);
            let end = tokio::select! {
                order = orders.recv() => match order {
                    // A renewal or reload that was under way is begun again, the renewal with the same key.
                    Some(Order::RenewNow) => {
                        serving.renew_now();
                        event = Event::RenewNow;
                        continue;
                    }
                    Some(Order::Stop) | None => {
                        self.notify.stopping();
                        serving.end().await;
                        return Ok(());
                    }
                },
                end = self.work(action, &identity, &serving, &mut reload_after) => end,
                error = serving.broken() => return Err(error),
            };
            event = match end {
                Done::Waited => self.look(&mut identity),
                Done::Asked(event) => event,
                Done::Renewed(next) => {
                    identity = *next;
                    Event::Renewed(Lease::from(&identity))
                }
                Done::Failed(error) => {
                    let event =
                        Event::Failed { failure: Failure::from(&error), retry_after: error.retry_after() };
                    failure = Some(error);
                    event
                }
            };
        }
    }

    /// Does what the schedule said.
    async fn work(
        &self,
        action: Action,
        identity: &Identity,
        serving: &Serving,
        reload_after: &mut Timestamp,
    ) -> Done {
        self.reload_if_due(identity, reload_after).await;
        let options = || {
            RenewOptions::default()
                .outputs(self.config.files.clone())
                .route(self.route.clone())
                .clock(Arc::clone(&self.clock))
                .stages(Arc::clone(&self.stages))
        };
        match action {
            Action::Renew => Done::of(renew(&self.dir, &options()).await),
            Action::Recover => Done::of(recover(&self.dir, &options()).await),
            Action::AskWindow => Done::Asked(self.ask_window(identity, serving).await),
            Action::Wait(pause) => {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.untold.notified() => {}
                    () = self.forgotten.is(identity.serial()) => {
                        let pause = breath(identity.validity().lifetime(), &mut rand::rng());
                        tracing::warn!(
                            serial = %identity.serial(),
                            "the CA does not know the certificate, which is renewed in {}",
                            duration::format(pause)
                        );
                        sleep(pause).await;
                        return Done::Asked(Event::RenewNow);
                    }
                }
                Done::Waited
            }
        }
    }

    /// Questions as this machine; a CA that does not know its certificate is heard.
    fn as_machine(&self) -> AsMachine {
        AsMachine::new(self.dir.clone(), self.route.clone(), Arc::clone(&self.clock))
            .heard_by(&self.forgotten)
    }

    /// The window as the CA sees it now: it may have been pulled forward.
    async fn ask_window(&self, identity: &Identity, serving: &Serving) -> Event {
        let told = match self.as_machine().get::<RenewalWindow>(paths::RENEWAL, Duration::ZERO).await {
            Ok(answer) => answer.body,
            Err(error) => {
                tracing::debug!("the CA did not tell its renewal window: {error}");
                return Event::WindowUnknown;
            }
        };
        let (Ok(after), Ok(before)) = (told.renew_after.parse(), told.renew_before.parse()) else {
            tracing::warn!(?told, "the CA's renewal window is not understood");
            return Event::WindowUnknown;
        };
        let window = Window { after, before };
        if let Some(reason) = told.reason.filter(|_| window != identity.window()) {
            let reason = plain(&reason, 200);
            tracing::info!(%after, %before, reason, "the CA moved the renewal window");
        }
        serving.hurry(&told.workloads);
        Event::Window { window, ask_again: Duration::from_secs(told.ask_again) }
    }

    /// Writes the metrics, where they are wanted.
    fn measure(&self, counts: Counts, identity: &Identity, state: State, next: Option<Timestamp>) {
        let Some(path) = &self.config.metrics else { return };
        if let Err(error) = counts.write(path, identity, state, next) {
            tracing::warn!(hint = error.hint_of_agent(), "the metrics cannot be written: {error}");
        }
    }

    /// Writes down what is planned, for `status`.
    fn note(&self, state: State, next: Option<Timestamp>) {
        let plan = Plan { state, next_attempt: next.map(|next| next.to_string()) };
        match self.dir.hold() {
            Ok(held) => held.note(|record| record.plan = Some(plan)),
            // Somebody renews by hand at this moment; the next event is written down again.
            Err(error) => tracing::debug!(%error, "the plan could not be written down"),
        }
    }

    /// Whether somebody else, `renew` or `enroll`, has published in the meantime.
    fn look(&self, identity: &mut Identity) -> Event {
        match self.dir.identity() {
            Ok(Some(found)) if found != *identity => {
                *identity = found;
                Event::Loaded(Lease::from(&*identity))
            }
            Ok(Some(_)) => Event::Tick,
            Ok(None) => {
                tracing::warn!(dir = %self.dir.path().display(), "the identity was removed from its directory");
                Event::Tick
            }
            Err(error) => {
                tracing::warn!(%error, "the published identity cannot be read");
                Event::Tick
            }
        }
    }

    /// Reloads for a certificate that the service has not seen: after a renewal, and after a crash between publishing and
    /// reloading. Then looks whether it is served.
    async fn reload_if_due(&self, identity: &Identity, after: &mut Timestamp) {
        let now = self.clock.now();
        let due = self.dir.record().map_or(true, |record| record.wants_reload(identity.serial()));
        let Some(how) = self.config.reload.as_ref().filter(|_| due && now >= *after) else { return };
        match reload(&self.dir, how, identity.serial(), &*self.clock).await {
            Ok(()) => {
                tracing::info!("reloaded by {how}");
                self.prove(identity);
            }
            Err(error) => {
                *after = now + RELOAD_AGAIN;
                let pause = duration::format(RELOAD_AGAIN);
                tracing::warn!(hint = error.hint(), "{error}; trying again in {pause}");
            }
        }
    }

    /// Looks, beside everything else, whether the service serves the certificate.
    fn prove(&self, identity: &Identity) {
        let Some(address) = self.config.served_at.clone() else { return };
        let (clock, identity) = (Arc::clone(&self.clock), identity.clone());
        let machine = self.as_machine();
        let (dir, untold) = (self.dir.clone(), Arc::clone(&self.untold));
        tokio::spawn(async move {
            let serial = identity.serial();
            match prove(&machine, &identity, &address, &clock).await {
                Ok(Proof::Served) => tracing::info!(%serial, address, "the new certificate is served"),
                Ok(Proof::NotTakenUp(found)) => {
                    tracing::warn!(
                        hint = "does the service read these files?",
                        "{address} still serves the certificate {found}, expected {serial}; it is told to reload again"
                    );
                    // A signal that came while the service was reloading already may be lost.
                    if let Ok(held) = dir.hold() {
                        held.note(|record| record.reloaded = None);
                    }
                    untold.notify_one();
                }
                Err(error) => {
                    tracing::warn!(hint = error.hint_of_agent(), "not proven to be in use: {error}")
                }
            }
        });
    }

    fn tell(&self, identity: &Identity, failure: Option<AgentError>, next: Option<Timestamp>) {
        let now = self.clock.now();
        let next = next
            .map_or_else(String::new, |next| format!("{} (at {next})", duration::format(next.since(now))));
        let left = match identity.validity().state(now) {
            ValidityState::Current => {
                format!(
                    "the certificate is valid for another {}",
                    duration::format(identity.validity().not_after().since(now))
                )
            }
            ValidityState::Expired { by } => format!("the certificate expired {} ago", duration::format(by)),
            ValidityState::NotYet { by } => {
                format!(
                    "the certificate is not valid for another {} by this machine's clock",
                    duration::format(by)
                )
            }
        };
        match failure {
            None => tracing::info!(serial = %identity.serial(), "{left}, next renewal in {next}"),
            Some(error) if error.is_lasting() => tracing::error!(
                hint = error.hint_of_agent(),
                "{error}; only an operator can change that; {left}, trying again in {next} in case one does"
            ),
            Some(error) => {
                tracing::warn!(
                    hint = error.hint_of_agent(),
                    "renewal failed: {error}; {left}, trying again in {next}"
                );
            }
        }
    }
}

/// Until when, for the service manager's status line.
fn until(identity: &Identity) -> String {
    format!("{} until {}", identity.spiffe_id(), identity.validity().not_after())
}

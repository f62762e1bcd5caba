//! The steps of the quickstart, each of which must be seen to hold.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_agent::{AgentError, Dir, EnrollOptions, ErrorKind, Identity, RenewOptions};
use countersign_identity::{SpiffeId, TrustDomain};
use countersign_verifier::{OwnIdentity, TrustStore, bundle_from_pem};
use hyper::{Method, StatusCode};
use tokio::{runtime::Runtime, task::JoinHandle};

use super::{
    authority::Authority,
    caller::{Answer, Caller},
    interruption::Interruption,
    ledger::Ledger,
    stranger::Stranger,
};
use crate::cli::{CliError, Output};

const TRUST_DOMAIN: &str = "quickstart.example";
/// How long calls go on around a renewal.
const AROUND: Duration = Duration::from_millis(300);
/// How soon a service knows of a revocation.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Everybody in the story.
pub(super) struct Story<'a> {
    out: &'a Output,
    dir: PathBuf,
    trust_domain: TrustDomain,
    runtime: Runtime,
    interruption: Interruption,
    authority: Authority,
    held: u32,
}

impl<'a> Story<'a> {
    /// Makes the CA and starts it.
    pub(super) fn begin(dir: PathBuf, out: &'a Output) -> Result<Self, CliError> {
        let trust_domain: TrustDomain = TRUST_DOMAIN.parse().map_err(CliError::failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::failed(format!("cannot start the runtime: {e}")))?;
        let interruption = Interruption::watch(&runtime)?;
        out.step("A certificate authority");
        let started = Authority::start(&dir.join("ca"), &trust_domain);
        // A terminal interrupts the CA as well, whose end is then no fault of its own.
        interruption.check()?;
        let authority = started?;
        let mut story = Self { out, dir, trust_domain, runtime, interruption, authority, held: 0 };
        story.hold(format!(
            "{} has a root and an issuer, and serves at {}",
            story.trust_domain,
            story.authority.url()
        ));
        Ok(story)
    }

    /// How many steps were seen to hold.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// Tells the whole story; the first step that does not hold ends it, and so does a signal.
    pub(super) fn tell(&mut self) -> Result<(), CliError> {
        let end = self.steps();
        self.interruption.check()?;
        end
    }

    /// Waits for `what`, unless a signal comes before.
    fn wait<F: Future>(&self, what: F) -> Result<F::Output, CliError> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.interruption.come() => Err(Interruption::error()),
                done = what => Ok(done),
            }
        })
    }

    fn steps(&mut self) -> Result<(), CliError> {
        self.out.step("Three machines enroll, each with a one-time invitation");
        for name in ["ledger", "payments", "reporting"] {
            let identity = self.enroll(name)?;
            self.hold(format!("{} is machine {}", identity.spiffe_id(), identity.machine()));
        }
        let home = self.home("ledger");
        let ledger = Ledger::start(&home, &self.trust_domain, self.authority.url());
        let ledger = self.wait(ledger)??;
        self.calls(&ledger)?;
        self.strangers(&ledger)?;
        self.renewal(&ledger)?;
        self.wrong_authority()?;
        self.revocation(&ledger)
    }

    fn calls(&mut self, ledger: &Ledger) -> Result<(), CliError> {
        self.out.step("The service ledger asks the policy what its callers may");
        let payments = self.caller("payments", ledger)?;
        let reporting = self.caller("reporting", ledger)?;
        for (name, caller, method, expected) in [
            ("payments writes", &payments, Method::POST, StatusCode::CREATED),
            ("reporting reads", &reporting, Method::GET, StatusCode::OK),
            ("reporting writes", &reporting, Method::POST, StatusCode::FORBIDDEN),
        ] {
            let answer = self.wait(caller.call(method, "/entries"))?.map_err(CliError::failed)?;
            self.expect_status(name, &answer, expected)?;
        }
        Ok(())
    }

    fn expect_status(&mut self, name: &str, answer: &Answer, expected: StatusCode) -> Result<(), CliError> {
        if answer.status != expected {
            let found = answer.status;
            return Err(self.broken(format!("{name}: expected {expected}, found {found}: {}", answer.words)));
        }
        self.hold(format!("{name}: {expected}"));
        self.out.detail(&answer.words);
        Ok(())
    }

    fn strangers(&mut self, ledger: &Ledger) -> Result<(), CliError> {
        self.out.step("Nobody gets in without a certificate of this trust domain");
        let nobody = self.caller_as(None, ledger)?;
        let answer = self.wait(nobody.call(Method::GET, "/entries"))?;
        self.expect_refused("a call without a certificate", answer)?;
        let stranger = Stranger::new()?;
        let impostor = self.caller_as(Some(stranger.identity(&self.id("payments")?)?), ledger)?;
        let answer = self.wait(impostor.call(Method::GET, "/entries"))?;
        self.expect_refused("another CA's certificate for payments", answer)
    }

    fn expect_refused(&mut self, name: &str, answer: Result<Answer, String>) -> Result<(), CliError> {
        match answer {
            Err(reason) => {
                self.hold(format!("{name} is refused in the handshake"));
                self.out.detail(reason);
                Ok(())
            }
            Ok(answer) => Err(self.broken(format!("{name} was answered {}", answer.status))),
        }
    }

    /// Calls go on while caller and service both change their certificates.
    fn renewal(&mut self, ledger: &Ledger) -> Result<(), CliError> {
        self.out.step("Machines renew while calls go on");
        let home = self.home("payments");
        let own = OwnIdentity::from_files(home.join("svid.pem"), home.join("svid.key"))
            .map_err(CliError::failed)?;
        let calls = Calls::start(&self.runtime, self.caller_as(Some(Arc::clone(&own)), ledger)?);
        std::thread::sleep(AROUND);
        let before = self.serial("payments")?;
        self.renew("payments").map_err(CliError::failed)?;
        own.replace_from_files(home.join("svid.pem"), home.join("svid.key")).map_err(CliError::failed)?;
        self.renew("ledger").map_err(CliError::failed)?;
        ledger.take_up(&self.home("ledger"))?;
        std::thread::sleep(AROUND);
        let (made, failed) = calls.stop(&self.runtime)?;
        let after = self.serial("payments")?;
        if failed > 0 || made == 0 || before == after {
            return Err(
                self.broken(format!("{failed} of {made} calls failed, serial {before} became {after}"))
            );
        }
        self.hold(format!("payments and ledger renewed; {made} calls meanwhile, none failed"));
        self.out.detail(format!("payments: serial {before} became {after}"));
        Ok(())
    }

    /// First contact with a server that only pretends to be the CA.
    fn wrong_authority(&mut self) -> Result<(), CliError> {
        self.out.step("An agent trusts no CA but the one in its invitation");
        let mut invitation = self.authority.invite(&self.id("late")?)?;
        let pretended = self.id("countersign/ca")?;
        let stranger = Stranger::new()?;
        let address = self.wait(stranger.listen(&pretended))??;
        invitation.url = format!("https://{address}");
        let options = EnrollOptions::new(invitation, self.home("late"));
        match self.wait(countersign_agent::enroll(&options))? {
            Err(error) if error.kind() == ErrorKind::Refused => {
                self.hold("a wrong CA is refused before anything secret is said");
                self.out.detail(error);
                Ok(())
            }
            Err(error) => Err(self.broken(format!("expected a refusal, found: {error}"))),
            Ok(_) => Err(self.broken("the agent enrolled with a wrong CA")),
        }
    }

    fn revocation(&mut self, ledger: &Ledger) -> Result<(), CliError> {
        self.out.step("A revoked machine is at its end");
        let id = self.id("reporting")?;
        let reporting = self.caller("reporting", ledger)?;
        let done = self.authority.revoke(&id, "quickstart")?;
        self.hold(format!("{id} is revoked: {} certificate(s)", done.serials.len()));
        self.until_refused(&reporting)?;
        let payments = self.caller("payments", ledger)?;
        let answer = self.wait(payments.call(Method::POST, "/entries"))?.map_err(CliError::failed)?;
        self.expect_status("payments still writes", &answer, StatusCode::CREATED)?;
        match self.renew("reporting") {
            Err(error) if error.kind() == ErrorKind::Refused => {
                self.hold("it can no longer renew");
                self.out.detail(error);
                Ok(())
            }
            Err(error) => Err(self.broken(format!("expected a refusal, found: {error}"))),
            Ok(_) => Err(self.broken("the revoked machine renewed")),
        }
    }

    /// The service learns of a revocation from the CA's trust snapshot, which it waits for.
    fn until_refused(&mut self, revoked: &Caller) -> Result<(), CliError> {
        let since = Instant::now();
        while since.elapsed() < AT_ONCE {
            if let Err(reason) = self.wait(revoked.call(Method::GET, "/entries"))? {
                let took = since.elapsed().as_millis();
                self.hold(format!("the service refuses it as well, {took} ms later"));
                self.out.detail(reason);
                return Ok(());
            }
        }
        Err(self.broken(format!("the service still lets it in, {AT_ONCE:?} later")))
    }

    /// Leaves everything as it is until Ctrl-C or SIGTERM.
    pub(super) fn keep(&self) -> Result<(), CliError> {
        let config = self.authority.config().display();
        let home = self.home("payments");
        self.out.line("");
        self.out.step("Everything keeps running until Ctrl-C. Try:");
        for line in [
            format!("export COUNTERSIGN_CONFIG={config}"),
            "countersign machines list".to_owned(),
            "countersign issued list --json".to_owned(),
            "countersign events list".to_owned(),
            format!("countersign inspect {}", home.join("svid.pem").display()),
            format!("curl --cacert {}/bundle.pem {}/v1/bundle", home.display(), self.authority.url()),
        ] {
            self.out.line(format!("    {line}"));
        }
        self.runtime.block_on(self.interruption.come());
        Ok(())
    }

    fn enroll(&self, name: &str) -> Result<Identity, CliError> {
        let invitation = self.authority.invite(&self.id(name)?)?;
        let options = EnrollOptions::new(invitation, self.home(name));
        self.wait(countersign_agent::enroll(&options))?.map_err(CliError::failed)
    }

    fn renew(&self, name: &str) -> Result<Identity, AgentError> {
        let dir = Dir::at(self.home(name));
        self.runtime.block_on(countersign_agent::renew(&dir, &RenewOptions::default()))
    }

    fn serial(&self, name: &str) -> Result<String, CliError> {
        let identity = Dir::at(self.home(name)).identity().map_err(CliError::failed)?;
        identity.map(|one| one.serial().to_string()).ok_or_else(|| CliError::failed("no identity"))
    }

    fn caller(&self, name: &str, ledger: &Ledger) -> Result<Caller, CliError> {
        let home = self.home(name);
        let own = OwnIdentity::from_files(home.join("svid.pem"), home.join("svid.key"))
            .map_err(CliError::failed)?;
        self.caller_as(Some(own), ledger)
    }

    fn caller_as(&self, identity: Option<Arc<OwnIdentity>>, ledger: &Ledger) -> Result<Caller, CliError> {
        Caller::new(identity, self.trust(&self.home("ledger"))?, &self.id("ledger")?, ledger.address)
    }

    fn trust(&self, home: &Path) -> Result<Arc<TrustStore>, CliError> {
        let pem = std::fs::read(home.join("bundle.pem")).map_err(CliError::failed)?;
        let roots = bundle_from_pem(self.trust_domain.clone(), &pem).map_err(CliError::failed)?;
        TrustStore::new([roots]).map(Arc::new).map_err(CliError::failed)
    }

    fn id(&self, name: &str) -> Result<SpiffeId, CliError> {
        self.trust_domain.with_path(&format!("/{name}")).map_err(CliError::failed)
    }

    fn home(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn hold(&mut self, what: impl std::fmt::Display) {
        self.held += 1;
        self.out.success(what);
    }

    fn broken(&self, what: impl std::fmt::Display) -> CliError {
        self.out.failure(&what);
        CliError::failed(format!("a step did not hold: {what}"))
    }
}

/// Calls that go on in the background, each over a connection of its own.
struct Calls {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Calls {
    fn start(runtime: &Runtime, caller: Caller) -> Self {
        let (stop, made, failed) = (Arc::default(), Arc::default(), Arc::default());
        let task =
            runtime.spawn(Self::go_on(caller, Arc::clone(&stop), Arc::clone(&made), Arc::clone(&failed)));
        Self { stop, made, failed, task }
    }

    async fn go_on(caller: Caller, stop: Arc<AtomicBool>, made: Arc<AtomicU32>, failed: Arc<AtomicU32>) {
        while !stop.load(Ordering::Relaxed) {
            let written = caller.call(Method::POST, "/entries").await;
            made.fetch_add(1, Ordering::Relaxed);
            if !written.is_ok_and(|answer| answer.status == StatusCode::CREATED) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn stop(self, runtime: &Runtime) -> Result<(u32, u32), CliError> {
        self.stop.store(true, Ordering::Relaxed);
        runtime.block_on(self.task).map_err(CliError::failed)?;
        Ok((self.made.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed)))
    }
}

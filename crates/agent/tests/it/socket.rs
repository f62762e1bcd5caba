//! The local socket, seen by plain gRPC: exact codes and texts, limits, who gets what.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::config::Config;
use countersign_agent::run::{Agent, Order};
use countersign_agent::{Dir, EnrollOptions, enroll};
use countersign_api::ProblemCode;
use countersign_identity::Clock;
use countersign_testkit::noon_clock;
use countersign_verifier::SystemClock;
use tempfile::TempDir;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::ca::{Answer, Asked, CA_ID, Ca, PAYMENTS, ok, problem};
use crate::grpc::{Client, JwtBundles, JwtRequest, ValidateRequest, X509Response};
use crate::keeping::eventually;

pub(crate) const API: &str = "spiffe://prod.example/api";

/// A machine with an agent that serves the socket.
pub(crate) struct Machine {
    pub(crate) ca: Arc<Ca>,
    pub(crate) scratch: TempDir,
    pub(crate) orders: Sender<Order>,
    agent: JoinHandle<Result<(), countersign_agent::AgentError>>,
}

pub(crate) fn uid() -> String {
    format!("unix:uid:{}", rustix::process::geteuid().as_raw())
}

impl Machine {
    /// An agent whose table `[workload_api]` has these lines besides the socket.
    pub(crate) async fn start(lines: &str) -> Self {
        Self::start_with(lines, |_, _| None).await
    }

    /// The same by another clock.
    pub(crate) async fn start_by(clock: Arc<dyn Clock>, lines: &str) -> Self {
        Self::begin(clock, lines, |_, _| None).await
    }

    /// The same, with a CA that behaves so once the machine is enrolled.
    pub(crate) async fn start_with(
        lines: &str,
        behaviour: impl Fn(&Ca, &Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::begin(Arc::new(SystemClock), lines, behaviour).await
    }

    async fn begin(
        clock: Arc<dyn Clock>,
        lines: &str,
        behaviour: impl Fn(&Ca, &Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let ca = Ca::start_for(Arc::clone(&clock), CA_ID, Duration::from_secs(86_400)).await;
        let scratch = tempfile::tempdir().unwrap();
        let options = EnrollOptions::new(ca.invitation(1), scratch.path().join("identity"));
        enroll(&options.clock(Arc::clone(&clock))).await.unwrap();
        ca.behave(behaviour);
        let (orders, agent) = run(scratch.path(), lines, &clock);
        let machine = Self { ca, scratch, orders, agent };
        machine.is_there().await;
        machine
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.path().join("agent.sock")
    }

    async fn is_there(&self) {
        for _ in 0..500 {
            let answers = std::os::unix::net::UnixStream::connect(self.socket()).is_ok();
            if answers || self.agent.is_finished() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the agent and starts another one in its place.
    pub(crate) async fn restart(&mut self, lines: &str) {
        self.stop().await;
        self.start_again(lines).await;
    }

    pub(crate) async fn stop(&mut self) {
        self.orders.send(Order::Stop).await.unwrap();
        (&mut self.agent).await.unwrap().unwrap();
        assert!(!self.socket().exists(), "the socket is removed at the end");
    }

    /// The same after a kill, which lets nothing end well: connections break, and the socket's file stays behind.
    pub(crate) async fn kill(&mut self, lines: &str) {
        self.agent.abort();
        assert!((&mut self.agent).await.unwrap_err().is_cancelled());
        while self.socket().exists() {
            tokio::task::yield_now().await;
        }
        drop(std::os::unix::net::UnixListener::bind(self.socket()).unwrap());
        self.start_again(lines).await;
    }

    pub(crate) async fn start_again(&mut self, lines: &str) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        (self.orders, self.agent) = run(self.scratch.path(), lines, &clock);
        self.is_there().await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket()).await
    }
}

fn run(
    scratch: &Path,
    lines: &str,
    clock: &Arc<dyn Clock>,
) -> (Sender<Order>, JoinHandle<Result<(), countersign_agent::AgentError>>) {
    let socket = scratch.join("agent.sock");
    let text = format!("dir = \"identity\"\n[workload_api]\nsocket = {socket:?}\n{lines}\n");
    let config = Config::parse(&text, &scratch.join("agent.toml")).unwrap();
    let (orders, receiver) = mpsc::channel(1);
    let clock = Arc::clone(clock);
    (orders, tokio::spawn(async move { Agent::new(config, clock).run(receiver).await }))
}

/// The machine's own identity for this user.
pub(crate) fn own() -> String {
    format!("[[workload_api.own]]\nselectors = [{:?}]", uid())
}

/// The number of workloads that have a directory.
fn workloads(machine: &Machine) -> usize {
    let homes = std::fs::read_dir(machine.scratch.path().join("identity/workloads")).unwrap();
    homes.filter(|home| home.as_ref().unwrap().path().is_dir()).count()
}

fn ids(response: &X509Response) -> Vec<&str> {
    response.svids.iter().map(|svid| svid.spiffe_id.as_str()).collect()
}

fn denied(status: &Status) {
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("no identity issued"), "{status}");
}

#[tokio::test]
async fn the_machines_own_identity_is_for_the_processes_its_operator_names() {
    let machine = Machine::start(&own()).await;
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&first), [PAYMENTS]);
    let svid = &first.svids[0];
    assert_eq!(svid.bundle, machine.ca.root().to_vec());
    let (rest, leaf) = x509_parser::parse_x509_certificate(&svid.x509_svid).unwrap();
    let key = rcgen::KeyPair::try_from(svid.x509_svid_key.as_slice()).unwrap();
    assert_eq!(leaf.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
    assert!(x509_parser::parse_x509_certificate(rest).is_ok(), "the issuer follows the leaf");
    machine.orders.send(Order::RenewNow).await.unwrap();
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&second), [PAYMENTS]);
    assert_ne!(second.svids[0].x509_svid, svid.x509_svid, "pushed on rotation");
    assert_ne!(second.svids[0].x509_svid_key, svid.x509_svid_key);
}

#[tokio::test]
async fn a_process_without_registration_gets_nothing_after_a_short_grace() {
    let machine = Machine::start("[[workload_api.own]]\nselectors = [\"unix:uid:4294967294\"]").await;
    let client = machine.client().await;
    let begun = std::time::Instant::now();
    denied(&client.x509_svids().await.unwrap().message().await.unwrap_err());
    assert!(begun.elapsed() >= Duration::from_secs(2), "it waits for a registration on its way");
    denied(&client.x509_bundles().await.unwrap().message().await.unwrap_err());
    denied(&client.jwt_svid(JwtRequest::of("x")).await.unwrap_err());
    denied(&client.jwt_bundles().await.unwrap().message().await.unwrap_err());
    let token = ValidateRequest { audience: "x".into(), svid: "y".into() };
    denied(&client.validate(token).await.unwrap_err());
    assert_eq!(machine.ca.issued(), 1, "and the CA is not asked for anything");
}

#[tokio::test]
async fn a_call_without_the_security_header_is_an_invalid_argument() {
    let machine = Machine::start(&own()).await;
    for header in [None, Some("false"), Some("TRUE")] {
        let client = Client { header, ..machine.client().await };
        let status = client.x509_svids().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{header:?}");
        assert_eq!(status.message(), "security header missing from request");
    }
    let client = machine.client().await;
    assert_eq!(client.call_unknown().await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_workload_gets_its_own_identity_when_it_first_asks() {
    let machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()]), ("spiffe://prod.example/other", &["unix:uid:4294967294"])]);
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&first), [API]);
    assert_eq!(machine.ca.issued(), 2, "the other one is not issued before somebody asks");
    machine.orders.send(Order::RenewNow).await.unwrap();
    let second = stream.message().await.unwrap().unwrap();
    assert_ne!(second.svids[0].x509_svid, first.svids[0].x509_svid);
    machine.ca.register(&[(API, &[&uid()]), ("spiffe://prod.example/more", &[&uid()])]);
    let third = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&third), [API, "spiffe://prod.example/more"], "a registration is pushed");
    machine.ca.register(&[]);
    denied(&stream.message().await.unwrap_err());
}

#[tokio::test]
async fn after_a_restart_a_workload_is_served_without_the_ca() {
    let mut machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    let before = stream.message().await.unwrap().unwrap();
    let dir = Dir::at(machine.scratch.path().join("identity"));
    let status = countersign_agent::status::Status::read(&dir, SystemClock.now()).unwrap();
    assert_eq!(status.workloads.len(), 1);
    let lines = status.lines().join("\n");
    assert!(lines.contains(API) && lines.contains("before the first expiry"), "{lines}");
    machine.ca.behave(|_, _| Some((503, String::new())));
    machine.restart("").await;
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    let after = stream.message().await.unwrap().unwrap();
    assert_eq!(after.svids, before.svids);
    machine.ca.behave_well();
    machine.restart("").await;
    machine.ca.register(&[]);
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    loop {
        // It may be served until the CA tells that it is gone.
        if let Err(status) = stream.message().await {
            break denied(&status);
        }
    }
    for _ in 0..100 {
        if workloads(&machine) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("what is no longer registered is removed from the disk");
}

#[tokio::test]
async fn a_workload_that_the_ca_refuses_is_denied() {
    let machine = Machine::start("").await;
    machine.ca.behave(|_, asked| {
        (asked.path == "/v1/workload").then(|| problem(403, ProblemCode::RegistrationGone))
    });
    machine.ca.register(&[(API, &[&uid()])]);
    denied(&machine.client().await.x509_svids().await.unwrap().message().await.unwrap_err());
}

#[tokio::test]
async fn a_workload_whose_ca_is_busy_is_told_to_come_back() {
    let machine = Machine::start("").await;
    machine.ca.behave(|_, asked| (asked.path == "/v1/workload").then(|| (503, String::new())));
    machine.ca.register(&[(API, &[&uid()])]);
    let status = machine.client().await.x509_svids().await.unwrap().message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn an_answer_that_names_somebody_else_is_not_handed_out() {
    let machine = Machine::start("").await;
    machine.ca.behave(|ca, asked| {
        (asked.path == "/v1/workload").then(|| ok(&ca.answer("spiffe://prod.example/admin", &asked.spki)))
    });
    machine.ca.register(&[(API, &[&uid()])]);
    let status = machine.client().await.x509_svids().await.unwrap().message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let left = std::fs::read_to_string(machine.scratch.path().join("identity/workloads/registrations.json"));
    assert!(left.unwrap().contains(API));
    assert_eq!(workloads(&machine), 1);
}

#[tokio::test]
async fn tokens_are_fetched_once_and_judged() {
    let machine = Machine::start(&own()).await;
    let client = machine.client().await;
    let first = client.jwt_svid(JwtRequest::of("ledger")).await.unwrap();
    assert_eq!(first.svids.len(), 1);
    assert_eq!(first.svids[0].spiffe_id, PAYMENTS);
    assert_eq!(client.jwt_svid(JwtRequest::of("ledger")).await.unwrap(), first, "from memory");
    let fetched = machine.ca.asked().iter().filter(|asked| asked.path == "/v1/jwt-svid").count();
    assert_eq!(fetched, 1);
    let token = first.svids[0].svid.clone();
    let good = client.validate(ValidateRequest { audience: "ledger".into(), svid: token.clone() }).await;
    assert_eq!(good.unwrap().spiffe_id, PAYMENTS);
    for (audience, svid) in [("other", token.clone()), ("", token.clone()), ("ledger", "x.y.z".into())] {
        let status = client.validate(ValidateRequest { audience: audience.into(), svid }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    let named = JwtRequest { spiffe_id: API.into(), ..JwtRequest::of("ledger") };
    denied(&client.jwt_svid(named).await.unwrap_err());
    for request in [JwtRequest::default(), JwtRequest { spiffe_id: "no id".into(), ..JwtRequest::of("x") }] {
        assert_eq!(client.jwt_svid(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let bundles = client.jwt_bundles().await.unwrap().message().await.unwrap().unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&bundles.bundles["spiffe://prod.example"]).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "JWT keys only: {keys}");
    assert_eq!(keys["keys"][0]["use"], "jwt-svid");
}

#[tokio::test]
async fn a_registration_on_its_way_is_waited_for_by_a_first_call() {
    let machine = Machine::start("").await;
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    let mut first = Box::pin(stream.message());
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut first).await;
    assert!(waited.is_err(), "{waited:?}");
    machine.ca.register(&[(API, &[&uid()])]);
    assert_eq!(ids(&first.await.unwrap().unwrap()), [API]);
}

#[tokio::test]
async fn past_half_its_life_the_next_token_is_fetched_behind_the_callers_back() {
    let clock = noon_clock();
    let machine = Machine::start_by(clock.clone(), &own()).await;
    let client = machine.client().await;
    let token = async || client.jwt_svid(JwtRequest::of("ledger")).await.unwrap().svids[0].svid.clone();
    let fetched = || machine.ca.asked().iter().filter(|asked| asked.path == "/v1/jwt-svid").count();
    let first = token().await;
    clock.advance(Duration::from_secs(140));
    assert_eq!(token().await, first);
    assert_eq!(fetched(), 1, "not yet half of five minutes");
    clock.advance(Duration::from_secs(20));
    machine.ca.behave(|_, _| Some((503, String::new())));
    assert_eq!(token().await, first, "nobody waits for the next one");
    eventually("asked for", || fetched() == 2).await;
    assert_eq!(token().await, first, "nor misses it while the CA is away");
    machine.ca.behave_well();
    clock.advance(Duration::from_secs(40));
    assert_eq!(token().await, first);
    eventually("asked for again", || fetched() == 3).await;
    let second = token().await;
    assert_ne!(second, first);
    assert_eq!(token().await, second);
    assert_eq!(fetched(), 3);
}

#[tokio::test]
async fn what_was_used_a_while_ago_is_kept_warm_and_what_nobody_uses_is_left_to_expire() {
    let clock = noon_clock();
    let machine = Machine::start_by(clock.clone(), "").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let asked = |path: &str| machine.ca.asked().iter().filter(|asked| asked.path == path).count();
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    // The agent notices it by itself.
    tokio::time::sleep(Duration::from_millis(500)).await;
    clock.advance(Duration::from_secs(1800));
    machine.orders.send(Order::RenewNow).await.unwrap();
    eventually("kept warm", || asked("/v1/workload") == 2).await;
    let dir = Dir::at(machine.scratch.path().join("identity"));
    let half_an_hour_on = clock.now() - Duration::from_secs(60);
    let is_renewed = || dir.identity().unwrap().unwrap().validity().not_before() == half_an_hour_on;
    eventually("the machine's own is renewed", is_renewed).await;
    clock.advance(Duration::from_secs(3500));
    machine.orders.send(Order::RenewNow).await.unwrap();
    eventually("the machine's own goes on", || asked("/v1/renew") == 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked("/v1/workload"), 2, "longer unused than it lives");
}

#[tokio::test]
async fn nobody_is_told_that_there_are_no_keys_of_tokens_because_the_ca_has_not_told_them() {
    let lines = own();
    let away = |_: &Ca, asked: &Asked| (asked.path != "/v1/jwt-svid").then(|| (503, String::new()));
    let mut machine = Machine::start_with(&lines, away).await;
    let keys = |bundles: &JwtBundles| -> usize {
        let keys: serde_json::Value =
            serde_json::from_slice(&bundles.bundles["spiffe://prod.example"]).unwrap();
        keys["keys"].as_array().unwrap().len()
    };
    let mut stream = machine.client().await.jwt_bundles().await.unwrap();
    let mut early = Box::pin(stream.message());
    let waited = tokio::time::timeout(Duration::from_secs(1), &mut early).await;
    assert!(waited.is_err(), "an empty set would mean that no token is good: {waited:?}");
    machine.ca.behave_well();
    let told = early.await.unwrap().unwrap();
    assert_eq!(keys(&told), 1);
    let token =
        machine.client().await.jwt_svid(JwtRequest::of("ledger")).await.unwrap().svids[0].svid.clone();
    machine.ca.behave(away);
    machine.restart(&lines).await;
    let client = machine.client().await;
    let again = client.jwt_bundles().await.unwrap().message().await.unwrap().unwrap();
    assert_eq!(again.bundles, told.bundles, "a restart needs no CA");
    let good = client.validate(ValidateRequest { audience: "ledger".into(), svid: token }).await.unwrap();
    assert_eq!(good.spiffe_id, PAYMENTS);
}

#[tokio::test]
async fn the_socket_tells_what_it_serves() {
    let machine = Machine::start(&own()).await;
    let services = machine.client().await.reflected_services().await;
    assert!(services.contains(&"SpiffeWorkloadAPI".to_owned()), "{services:?}");
}

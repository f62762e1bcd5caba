//! A service with the verifier of this house against the CA of this house: revoked means refused, and an absent CA
//! stops nobody.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use countersign_testkit::csr;
use countersign_verifier::{
    Clock, LiveTrust, OnLoss, OwnIdentity, PeerRule, ServerBuilder, SystemClock, Timestamp, TrustState,
    axum_serve_gated, bundle_from_pem,
};
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};

use crate::{
    ca::{Ca, TRUST_DOMAIN, id},
    machine::{self, Machine},
    wire::{Answer, Connection},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Between the end of `countersign revoke` and the refusal by the service.
const A_SECOND: Duration = Duration::from_secs(1);

/// The machine's clock, and so much more.
#[derive(Clone, Copy, Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }
}

/// A ledger that pays attention to the CA.
struct Ledger {
    live: LiveTrust,
    addr: SocketAddr,
    /// Whatever runs for it ends with this.
    _runtime: Runtime,
}

/// Where a ledger has its identity and keeps its trust.
struct Home {
    identity: PathBuf,
    kept: PathBuf,
}

impl Home {
    #[track_caller]
    fn enrolled(ca: &Ca) -> Self {
        let invitation = ca.invite("/ledger", &["--profile", "gateway"]);
        ca.agent(&["enroll", "--invitation", &invitation, "--dir", "ledger"]).succeeded();
        Self { identity: ca.scratch("ledger"), kept: ca.scratch("ledger-trust") }
    }

    fn own(&self) -> Arc<OwnIdentity> {
        let file = |name: &str| self.identity.join(name);
        OwnIdentity::from_files(file("svid.pem"), file("svid.key")).unwrap()
    }

    /// Opens the ledger, as at any start of its process.
    #[track_caller]
    fn open(&self, ca: &Ca, on_loss: OnLoss, ahead: Duration) -> Ledger {
        let runtime = Runtime::new().unwrap();
        let clock = Arc::new(Ahead(ahead));
        let pem = fs::read(self.identity.join("bundle.pem")).unwrap();
        let roots = bundle_from_pem(TRUST_DOMAIN.parse().unwrap(), &pem).unwrap();
        let live = LiveTrust::anchored(roots).kept_in(&self.kept).clock(Arc::clone(&clock) as _);
        let live = live.open().unwrap();
        let url = format!("https://{}", ca.listen()).parse().unwrap();
        runtime.spawn(live.clone().follow_ca(url, Some(self.own())));
        let addr = runtime.block_on(async {
            timeout(PATIENCE, live.ready()).await.expect("a snapshot, from the CA or from disk");
            let rule = PeerRule::trust_domain(TRUST_DOMAIN.parse().unwrap());
            let acceptor = ServerBuilder::new(self.own(), live.store()).admit(rule);
            let acceptor = acceptor.clock(clock).on_loss(on_loss).build().unwrap();
            let gate = live.gate();
            let router = Router::new()
                .route("/entries", get(|| async { "entries" }))
                .route_layer(gate.require("ledger:read".parse().unwrap()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            tokio::spawn(axum_serve_gated(listener, acceptor, gate, router, std::future::pending()));
            addr
        });
        Ledger { live, addr, _runtime: runtime }
    }
}

impl Ledger {
    fn connect(&self, machine: &Machine) -> Connection {
        Connection::open(self.addr, Some(&machine.papers)).unwrap()
    }

    /// What the ledger answers on a connection of its own; none if it lets the machine not in.
    fn knock(&self, machine: &Machine) -> Option<u16> {
        let mut connection = Connection::open(self.addr, Some(&machine.papers)).ok()?;
        entries(&mut connection).map(|answer| answer.status)
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < until, "{what} within {PATIENCE:?}: {:?}", self.live.health());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn entries(connection: &mut Connection) -> Option<Answer> {
    connection.ask("GET", "/entries", None).ok()
}

#[track_caller]
fn payments(ca: &Ca) -> Machine {
    let key = csr::p256();
    let invitation = ca.invite("/payments", &["--profile", "gateway"]);
    Machine::from(&machine::enroll(ca, &invitation, &csr::plain(&key)), key)
}

#[test]
fn a_machine_revoked_while_connected_is_refused_by_the_service_within_a_second() {
    let ca = Ca::start();
    let ledger = Home::enrolled(&ca).open(&ca, OnLoss::Drop, Duration::ZERO);
    let machine = payments(&ca);
    let mut connection = ledger.connect(&machine);
    assert_eq!(entries(&mut connection).unwrap().text(), "entries");
    ca.run(&["revoke", "machine", &machine.response.machine]).succeeded();
    let since = Instant::now();
    assert!(connection.is_closed_within(PATIENCE));
    let took = since.elapsed();
    assert!(took < A_SECOND, "took {took:?}");
    assert_eq!(ledger.knock(&machine), None);
}

#[test]
fn every_kind_of_revocation_reaches_the_service() {
    let ca = Ca::start();
    let ledger = Home::enrolled(&ca).open(&ca, OnLoss::Refuse, Duration::ZERO);
    for kind in ["serial", "lineage", "key"] {
        let machine = Machine::enrolled(&ca, &format!("/payments/{kind}"));
        assert_eq!(ledger.knock(&machine), Some(403), "known, and without a grant");
        let mut connection = ledger.connect(&machine);
        assert_eq!(entries(&mut connection).unwrap().status, 403);
        let issued = ca.json(&["issued", "list"]);
        let row = issued.as_array().unwrap().iter().find(|row| row["serial"] == machine.serial()).unwrap();
        let target = match kind {
            "serial" => machine.serial(),
            "lineage" => row["lineage"].as_str().unwrap().to_owned(),
            _ => row["key"].as_str().or_else(|| row["key_sha256"].as_str()).unwrap().to_owned(),
        };
        ca.run(&["revoke", kind, &target]).succeeded();
        ledger.until(kind, |ledger| ledger.knock(&machine).is_none());
        // An open connection is judged again by a task of its own, which may run a moment later.
        let mut answer = entries(&mut connection).unwrap();
        let until = Instant::now() + PATIENCE;
        while answer.status != 401 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
            answer = entries(&mut connection).unwrap();
        }
        answer.refused_by_service("certificate_revoked");
    }
}

impl Answer {
    #[track_caller]
    fn refused_by_service(&self, code: &str) {
        assert_eq!(self.status, 401, "{}", self.text());
        assert!(self.text().contains(code), "{}", self.text());
    }
}

#[test]
fn a_suspended_machine_is_refused_and_let_in_again_once_resumed() {
    let ca = Ca::start();
    let ledger = Home::enrolled(&ca).open(&ca, OnLoss::Drop, Duration::ZERO);
    let machine = payments(&ca);
    assert_eq!(ledger.knock(&machine), Some(200));
    ca.run(&["machines", "suspend", &machine.response.machine]).succeeded();
    ledger.until("the suspension", |ledger| ledger.knock(&machine).is_none());
    ca.run(&["machines", "resume", &machine.response.machine]).succeeded();
    ledger.until("the return", |ledger| ledger.knock(&machine) == Some(200));
}

#[test]
fn a_policy_that_is_applied_counts_on_live_connections() {
    let ca = Ca::start();
    let ledger = Home::enrolled(&ca).open(&ca, OnLoss::Drop, Duration::ZERO);
    let machine = payments(&ca);
    let mut connection = ledger.connect(&machine);
    assert_eq!(entries(&mut connection).unwrap().status, 200);
    let written = fs::read_to_string(ca.home().join("policy.toml")).unwrap();
    let deny = format!(
        "{}\n[[deny]]\nid = \"{}\"\npermissions = [\"ledger:read\"]\n",
        written.split("# Run by").next().unwrap(),
        id("/payments")
    );
    fs::write(ca.scratch("next.toml"), deny).unwrap();
    ca.run(&["policy", "apply", "next.toml"]).succeeded();
    let until = Instant::now() + PATIENCE;
    while entries(&mut connection).unwrap().status != 403 {
        assert!(Instant::now() < until, "the policy never came: {:?}", ledger.live.health());
    }
}

#[test]
fn a_new_issuer_is_known_to_running_services() {
    let ca = Ca::start();
    let ledger = Home::enrolled(&ca).open(&ca, OnLoss::Drop, Duration::ZERO);
    let machine = payments(&ca);
    assert_eq!(ledger.knock(&machine), Some(200));
    ca.run(&["issuer", "rotate", "--passphrase-file", "passphrase"]).succeeded();
    let renewed = machine.renewed(&ca);
    assert_ne!(renewed.papers.chain[1], machine.papers.chain[1], "another issuer");
    ledger.until("the new issuer", |ledger| ledger.knock(&renewed) == Some(200));
}

#[test]
fn a_service_goes_on_without_its_ca_even_through_a_restart_of_its_own_and_says_it_is_stale() {
    let mut ca = Ca::start();
    let home = Home::enrolled(&ca);
    let ledger = home.open(&ca, OnLoss::Drop, Duration::ZERO);
    let (machine, revoked) = (payments(&ca), Machine::enrolled(&ca, "/reporting"));
    assert_eq!((ledger.knock(&machine), ledger.knock(&revoked)), (Some(200), Some(200)));
    ca.run(&["revoke", "machine", &revoked.response.machine]).succeeded();
    ledger.until("the revocation", |ledger| ledger.knock(&revoked).is_none());
    let seen = ledger.live.health().sequence;

    ca.stop();
    ledger.until("the silence is noticed", |ledger| ledger.live.health().counts.unreachable > 0);
    assert_eq!(ledger.live.health().state, TrustState::Fresh);
    assert_eq!(ledger.knock(&machine), Some(200));
    drop(ledger);

    // The same again after a restart, an hour later.
    let ledger = home.open(&ca, OnLoss::Drop, Duration::from_secs(3700));
    let health = ledger.live.health();
    assert_eq!((health.state, health.sequence), (TrustState::Stale, seen));
    assert_eq!(ledger.knock(&machine), Some(200));
    drop(ledger);
    let ledger = home.open(&ca, OnLoss::Drop, Duration::ZERO);
    assert_eq!(ledger.knock(&machine), Some(200));
    assert_eq!(ledger.knock(&revoked), None, "who was revoked stays so");

    ca.start_again();
    ledger.until("the CA is heard again", |ledger| ledger.live.health().last_fault.is_none());
    assert_eq!(ledger.live.health().state, TrustState::Fresh);
}

#[test]
fn a_service_with_trust_from_another_ca_knows_nobody() {
    let (ca, other) = (Ca::start(), Ca::start());
    let home = Home::enrolled(&ca);
    let ledger = home.open(&ca, OnLoss::Drop, Duration::ZERO);
    let stranger = payments(&other);
    assert_eq!(ledger.knock(&stranger), None);
    // The file of another CA of the same name is no trust of ours.
    other.run(&["bundle", "export", "trust.json"]).succeeded();
    let file = fs::read(other.scratch("trust.json")).unwrap();
    assert!(ledger.live.offer_file(&file).is_err());
    ca.run(&["bundle", "export", "trust.json"]).succeeded();
    let file = fs::read(ca.scratch("trust.json")).unwrap();
    assert!(ledger.live.offer_file(&file).is_ok(), "{:?}", ledger.live.health());
}

#[test]
fn a_failed_handshake_is_explained_with_its_reason_and_remedy() {
    let ca = Ca::start();
    let ledger = Home::enrolled(&ca).open(&ca, OnLoss::Drop, Duration::ZERO);
    let dir = ca.enroll_agent("/audit", "m");
    let place = ledger.addr.to_string();
    let inspect = |dir: &str| ca.run(&["inspect", &place, "--as", dir, "--path", "/entries"]).succeeded();
    let shown = inspect("m");
    assert!(shown.contains(&format!("your certificate is good for {}", id("/audit"))), "{shown}");
    assert!(shown.contains("completed the handshake with your certificate"), "{shown}");
    let server = format!("accepts it as {}, as client and as server, under your own roots", id("/ledger"));
    assert!(shown.contains(&server), "{shown}");
    assert!(shown.contains("it answers 403") && shown.contains("countersign policy explain"), "{shown}");
    assert!(shown.contains("under the reference"), "{shown}");

    // Of another CA with the same name: neither side knows the other.
    let other = Ca::start();
    other.enroll_agent("/payments", "foreign");
    let shown = inspect(other.scratch("foreign").to_str().unwrap());
    assert!(shown.contains("alert UnknownCA") && shown.contains("Remedy: its bundle"), "{shown}");
    assert!(shown.contains("✗ a verifier refuses it"), "{shown}");

    ca.run(&["revoke", "machine", &id("/audit")]).succeeded();
    ledger.until("the revocation is known", |_| inspect("m").contains("alert CertificateRevoked"));
    fs::remove_file(dir.join("svid.key")).unwrap();
    ca.run(&["inspect", &place, "--as", "m"]).failed(1, &["svid.key", "countersign-agent enroll"]);
}

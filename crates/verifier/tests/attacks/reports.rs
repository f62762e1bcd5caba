//! Decision events: what reaches the certificate authority, when it is slow or away, and who else does not get them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use countersign_api::{Decision, DecisionKind, DecisionReport, ReportResponse, paths};
use countersign_testkit::{Authority, noon_clock};
use countersign_verifier::{
    Allowed, CaLink, LiveTrust, OwnIdentity, PeerRule, Reporter, ServerBuilder, axum_serve, axum_serve_gated,
    permissions,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::snapshots::Domain;
use crate::world::{LEDGER, PAYMENTS, only, own, trust};

const PATIENCE: Duration = Duration::from_secs(20);
const CA: &str = "spiffe://prod.example/countersign/ca";
const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://prod.example/payments"
permissions = ["ledger:read"]
"#;

permissions! {
    mod ledger = "ledger" { Read = "read", Write = "write" }
}

/// What a certificate authority was told, and how it answers the next reports.
#[derive(Clone, Default)]
struct Desk {
    told: Arc<Mutex<Vec<DecisionReport>>>,
    first: Arc<Mutex<Vec<StatusCode>>>,
}

impl Desk {
    fn answering(first: &[StatusCode]) -> Self {
        Self { first: Arc::new(Mutex::new(first.iter().rev().copied().collect())), ..Self::default() }
    }

    fn decisions(&self) -> Vec<Decision> {
        let told = self.told.lock().expect("the reports");
        told.iter().flat_map(|report| report.decisions.clone()).collect()
    }

    async fn has(&self, count: usize) -> Vec<Decision> {
        for _ in 0..2000 {
            if self.decisions().len() >= count {
                return self.decisions();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("only {:?} of {count} were reported", self.decisions());
    }
}

async fn events(State(desk): State<Desk>, Json(report): Json<DecisionReport>) -> Response {
    if let Some(status) = desk.first.lock().expect("the answers").pop() {
        return (status, [(header::RETRY_AFTER, "0")]).into_response();
    }
    let accepted = report.decisions.iter().map(|one| one.count).sum();
    desk.told.lock().expect("the reports").push(report);
    Json(ReportResponse { accepted }).into_response()
}

/// A server for reports under any identity.
async fn desk_of(domain: &Domain, desk: &Desk, me: Arc<OwnIdentity>) -> SocketAddr {
    let rule = PeerRule::trust_domain("prod.example".parse().expect("a domain"));
    let acceptor = ServerBuilder::new(me, trust([domain.root.bundle()])).admit(rule).clock(noon_clock());
    let acceptor = acceptor.build().expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let router = Router::new().route(paths::EVENTS, post(events)).with_state(desk.clone());
    tokio::spawn(axum_serve(listener, acceptor, router, std::future::pending()));
    addr
}

fn live(domain: &Domain) -> LiveTrust {
    let live = LiveTrust::anchored(domain.root.bundle()).clock(noon_clock()).open().expect("good roots");
    let forged = domain.forge().policy(POLICY).forge();
    live.offer(forged.jws(), forged.parts()).expect("a good snapshot");
    live
}

fn link(live: &LiveTrust, domain: &Domain, addr: SocketAddr) -> CaLink {
    let me = own(&domain.issuer.leaf(LEDGER).forge());
    live.link(format!("https://{addr}").parse().expect("an address"), me).expect("a link")
}

async fn entries(_: Allowed<ledger::Read>) -> &'static str {
    "entries"
}

async fn add(_: Allowed<ledger::Write>) -> &'static str {
    "written"
}

/// A ledger that reports, and where it listens.
async fn reporting_ledger(live: &LiveTrust, domain: &Domain, reporter: &Reporter) -> SocketAddr {
    let me = own(&domain.issuer.leaf(LEDGER).forge());
    let acceptor = ServerBuilder::new(me, live.store()).admit(only(PAYMENTS)).clock(noon_clock());
    let acceptor = acceptor.reporting(reporter.clone()).build().expect("a server");
    let gate = live.gate().reporting(reporter.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let router = Router::new().route("/entries", get(entries).post(add));
    tokio::spawn(axum_serve_gated(listener, acceptor, gate, router, std::future::pending()));
    addr
}

async fn ask(domain: &Domain, addr: SocketAddr, id: &str, method: &str) -> String {
    let connector = countersign_verifier::ClientBuilder::new(trust([domain.root.bundle()]))
        .expect(only(LEDGER))
        .identity(own(&domain.issuer.leaf(id).serial(&[5; 18]).forge()))
        .clock(noon_clock())
        .build()
        .expect("a client");
    let socket = TcpStream::connect(addr).await.expect("a connection");
    let (mut stream, _) = connector.connect(socket).await.expect("the ledger");
    let request = format!("{method} /entries HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    // A refused client learns it at its first read, perhaps as an error.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time");
    answer
}

#[tokio::test]
async fn what_a_service_decides_reaches_the_authority() {
    let (domain, desk) = (Domain::new(), Desk::default());
    let live = live(&domain);
    let ca = desk_of(&domain, &desk, own(&domain.issuer.leaf(CA).forge())).await;
    let reporter = Reporter::by("ledger", noon_clock());
    tokio::spawn(reporter.clone().send_over(link(&live, &domain, ca)));
    let ledger = reporting_ledger(&live, &domain, &reporter).await;
    assert!(ask(&domain, ledger, PAYMENTS, "GET").await.contains("entries"));
    let refused = ask(&domain, ledger, PAYMENTS, "POST").await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    ask(&domain, ledger, "spiffe://prod.example/stranger", "GET").await;

    let found = desk.has(4).await;
    let version = live.health().policy.to_string();
    let of = |kind, allowed| {
        let found: Vec<_> = found.iter().filter(|one| one.kind == kind && one.allowed == allowed).collect();
        found.first().copied().cloned().unwrap_or_else(|| panic!("{kind:?} {allowed}"))
    };
    let came = of(DecisionKind::Authentication, true);
    assert_eq!(came.spiffe_id.as_deref(), Some(PAYMENTS));
    assert_eq!(came.serial.as_deref(), Some("05".repeat(18).as_str()));
    assert_eq!(came.time, "2026-11-23T12:00:00Z");
    let read = of(DecisionKind::Authorization, true);
    assert_eq!((read.permission.as_deref(), read.reason.as_deref()), (Some("ledger:read"), Some("grant 1")));
    assert_eq!(read.policy.as_deref(), Some(version.as_str()));
    let write = of(DecisionKind::Authorization, false);
    assert_eq!(
        (write.permission.as_deref(), write.reason.as_deref()),
        (Some("ledger:write"), Some("no grant"))
    );
    assert!(refused.contains(write.reference.as_deref().expect("a reference")), "what the caller was told");
    let stranger = of(DecisionKind::Authentication, false);
    assert_eq!(stranger.reason.as_deref(), Some("peer_not_allowed"));
    assert_eq!(desk.told.lock().expect("the reports")[0].service, "ledger");
    assert_eq!(reporter.counts().dropped, 0);
}

#[tokio::test]
async fn an_authority_that_is_busy_is_asked_again_and_nothing_is_lost() {
    let domain = Domain::new();
    let desk = Desk::answering(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN]);
    let live = live(&domain);
    let ca = desk_of(&domain, &desk, own(&domain.issuer.leaf(CA).forge())).await;
    let reporter = Reporter::by("ledger", noon_clock());
    let ledger = reporting_ledger(&live, &domain, &reporter).await;
    ask(&domain, ledger, PAYMENTS, "POST").await;
    assert_eq!(reporter.counts().waiting, 2);
    tokio::spawn(reporter.clone().send_over(link(&live, &domain, ca)));
    let found = desk.has(2).await;
    assert!(found.iter().any(|one| one.kind == DecisionKind::Authorization && !one.allowed));
    for _ in 0..2000 {
        if reporter.counts().reported == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let counts = reporter.counts();
    assert_eq!((counts.reported, counts.failed, counts.dropped, counts.waiting), (2, 2, 0, 0));
}

#[tokio::test]
async fn what_the_authority_cannot_read_is_given_up_and_counted() {
    let domain = Domain::new();
    let desk = Desk::answering(&[StatusCode::BAD_REQUEST]);
    let live = live(&domain);
    let ca = desk_of(&domain, &desk, own(&domain.issuer.leaf(CA).forge())).await;
    let reporter = Reporter::by("ledger", noon_clock());
    let ledger = reporting_ledger(&live, &domain, &reporter).await;
    ask(&domain, ledger, PAYMENTS, "GET").await;
    tokio::spawn(reporter.clone().send_over(link(&live, &domain, ca)));
    for _ in 0..2000 {
        if !desk.told.lock().expect("the reports").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = desk.told.lock().expect("the reports").clone();
    let [report] = told.as_slice() else { panic!("one report: {told:?}") };
    assert_eq!((report.decisions.len(), report.dropped), (0, 2));
}

#[tokio::test]
async fn nobody_but_the_authority_is_told() {
    let domain = Domain::new();
    let live = live(&domain);
    let stranger = Authority::root("prod.example").issuer();
    for me in [own(&domain.issuer.leaf(PAYMENTS).forge()), own(&stranger.leaf(CA).forge())] {
        let desk = Desk::default();
        let addr = desk_of(&domain, &desk, me).await;
        let reporter = Reporter::by("ledger", noon_clock());
        let ledger = reporting_ledger(&live, &domain, &reporter).await;
        ask(&domain, ledger, PAYMENTS, "GET").await;
        tokio::spawn(reporter.clone().send_over(link(&live, &domain, addr)));
        for _ in 0..2000 {
            if reporter.counts().failed > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(reporter.counts().failed > 0);
        assert!(desk.decisions().is_empty());
    }
}

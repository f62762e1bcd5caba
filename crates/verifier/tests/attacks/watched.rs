//! Live connections whose peer is lost: cut, refused or reported, as the service chose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use countersign_testkit::{SnapshotForge, noon, noon_clock};
use countersign_verifier::{
    ClientBuilder, Clock, HardLimit, OnLoss, PeerRule, Refusal, ServerBuilder, Timestamp, TrustStore,
    axum_serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::snapshots::{Domain, judge};
use crate::world::{LEDGER, PAYMENTS, only, own, trust};

const PATIENCE: Duration = Duration::from_secs(20);
const SERIAL: [u8; 18] = [5; 18];

struct Ledger {
    domain: Domain,
    store: Arc<TrustStore>,
    addr: SocketAddr,
}

/// A clock that begins at noon and runs.
#[derive(Debug)]
struct FromNoon(Instant);

impl Clock for FromNoon {
    fn now(&self) -> Timestamp {
        noon() + self.0.elapsed()
    }
}

impl Ledger {
    async fn serving(on_loss: OnLoss, clock: Arc<dyn Clock>) -> Self {
        let domain = Domain::new();
        let store = Arc::new(TrustStore::default());
        let me = own(&domain.issuer.leaf(LEDGER).forge());
        let acceptor = ServerBuilder::new(me, Arc::clone(&store)).admit(only(PAYMENTS));
        let acceptor = acceptor.clock(clock).on_loss(on_loss).build().expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let router = Router::new().route("/who", get(|| async { "welcome" }));
        tokio::spawn(axum_serve(listener, acceptor, router, std::future::pending()));
        let ledger = Self { domain, store, addr };
        ledger.adopt(ledger.domain.forge());
        ledger
    }

    fn adopt(&self, forge: SnapshotForge<'_>) {
        let snapshot = judge(&self.domain.trusted(), &forge.forge()).expect("a good snapshot");
        self.store.adopt(&snapshot, HardLimit::default()).expect("good roots");
    }

    /// One more snapshot, in which the caller of these tests is revoked.
    fn revoke(&self) {
        let end = noon() + Duration::from_secs(3600);
        let serial = "05".repeat(18);
        self.adopt(self.domain.forge().sequence(2).revoke(&self.domain.issuer, &serial, end));
    }

    async fn connect(&self, ends: Timestamp) -> TlsStream<TcpStream> {
        let mine = self.domain.issuer.leaf(PAYMENTS).serial(&SERIAL).ends(ends).forge();
        let connector = ClientBuilder::new(trust([self.domain.root.bundle()]))
            .expect(PeerRule::one_of([LEDGER.parse().expect("an ID")]))
            .identity(own(&mine))
            .clock(noon_clock())
            .build()
            .expect("a client");
        let socket = TcpStream::connect(self.addr).await.expect("a connection");
        connector.connect(socket).await.expect("the ledger").0
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /who HTTP/1.1\r\nhost: ledger\r\n\r\n").await.expect("a request");
    let mut answer = vec![0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Whether the server has ended the connection, now or soon.
async fn is_over(stream: &mut TlsStream<TcpStream>) -> bool {
    let read = timeout(PATIENCE, stream.read_u8()).await;
    read.is_ok_and(|read| read.is_err())
}

fn later() -> Timestamp {
    noon() + Duration::from_secs(3599)
}

#[tokio::test]
async fn a_peer_revoked_while_connected_is_cut_off() {
    let ledger = Ledger::serving(OnLoss::Drop, noon_clock()).await;
    let mut stream = ledger.connect(later()).await;
    assert!(ask(&mut stream).await.contains("welcome"));
    ledger.adopt(ledger.domain.forge().sequence(2));
    assert!(ask(&mut stream).await.contains("welcome"), "news about others");
    ledger.revoke();
    assert!(is_over(&mut stream).await);
}

#[tokio::test]
async fn further_requests_of_a_revoked_peer_are_refused_where_the_service_chose_so() {
    let ledger = Ledger::serving(OnLoss::Refuse, noon_clock()).await;
    let mut stream = ledger.connect(later()).await;
    assert!(ask(&mut stream).await.contains("welcome"));
    ledger.revoke();
    let mut answer = ask(&mut stream).await;
    // The guard hears of the snapshot a moment after it is in force.
    for _ in 0..1000 {
        if !answer.contains("welcome") {
            break;
        }
        tokio::task::yield_now().await;
        answer = ask(&mut stream).await;
    }
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("certificate_revoked") && !answer.contains("payments"), "{answer}");
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 401"), "the connection is still there");
}

#[tokio::test]
async fn a_revoked_peer_goes_on_where_the_service_only_wants_to_know() {
    let ledger = Ledger::serving(OnLoss::Report, noon_clock()).await;
    let mut stream = ledger.connect(later()).await;
    assert!(ask(&mut stream).await.contains("welcome"));
    ledger.revoke();
    for _ in 0..20 {
        assert!(ask(&mut stream).await.contains("welcome"));
    }
}

#[tokio::test]
async fn a_peer_whose_issuer_left_the_list_is_cut_off() {
    let ledger = Ledger::serving(OnLoss::Drop, noon_clock()).await;
    let mut stream = ledger.connect(later()).await;
    assert!(ask(&mut stream).await.contains("welcome"));
    ledger.adopt(SnapshotForge::new(&ledger.domain.root, &ledger.domain.signer).sequence(2));
    assert!(is_over(&mut stream).await);
}

#[tokio::test]
async fn a_peer_of_a_domain_no_longer_trusted_is_cut_off() {
    let ledger = Ledger::serving(OnLoss::Drop, noon_clock()).await;
    let mut stream = ledger.connect(later()).await;
    assert!(ask(&mut stream).await.contains("welcome"));
    ledger.store.remove(&"prod.example".parse().expect("a trust domain"));
    assert!(is_over(&mut stream).await);
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_peer() {
    let clock: Arc<dyn Clock> = Arc::new(FromNoon(Instant::now()));
    let ends = noon() + Duration::from_secs(2);
    let dropping = Ledger::serving(OnLoss::Drop, Arc::clone(&clock)).await;
    let refusing = Ledger::serving(OnLoss::Refuse, clock).await;
    let (mut dropped, mut refused) = (dropping.connect(ends).await, refusing.connect(ends).await);
    assert!(ask(&mut dropped).await.contains("welcome"));
    assert!(ask(&mut refused).await.contains("welcome"));
    assert!(is_over(&mut dropped).await);
    let mut answer = String::new();
    while !answer.contains("certificate_expired") {
        answer = ask(&mut refused).await;
        assert!(answer.contains("welcome") || answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}

#[tokio::test]
async fn whoever_speaks_another_protocol_watches_for_itself() {
    let domain = Domain::new();
    let store = Arc::new(TrustStore::default());
    let adopt = |forge: SnapshotForge<'_>| {
        let snapshot = judge(&domain.trusted(), &forge.forge()).expect("a good snapshot");
        store.adopt(&snapshot, HardLimit::default()).expect("good roots");
    };
    adopt(domain.forge());
    let me = own(&domain.issuer.leaf(LEDGER).forge());
    let acceptor = ServerBuilder::new(me, Arc::clone(&store)).admit(only(PAYMENTS)).clock(noon_clock());
    let acceptor = acceptor.build().expect("a server");
    let machine = domain.issuer.leaf(PAYMENTS).forge();
    let peer = acceptor.judge(&machine.chain()).expect("a good peer");
    let mut vigil = acceptor.vigil(&peer);
    let until = (noon() + Duration::from_secs(1)).unix();
    let end = later().unix();
    adopt(domain.forge().sequence(2).list("subjects", serde_json::json!([[PAYMENTS, until, end]])));
    let lost = timeout(PATIENCE, vigil.lost()).await.expect("in time");
    assert!(matches!(lost, Refusal::Revoked { .. }));
}

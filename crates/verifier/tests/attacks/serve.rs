//! The accept loop over real sockets: peers in handlers, limits, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::routing::get;
use axum::{Extension, Router};
use countersign_testkit::noon;
use countersign_verifier::{
    Admission, Allowed, Arrival, ClientConnector, FrontDoor, Limits, NamedPermission, PeerRule, Presented,
    Refusal, VerifiedPeer, Wire, axum_serve, axum_serve_gated, serve_connections,
};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::{LEDGER, PAYMENTS, World, only, own};

const REQUEST: &[u8] = b"GET /who HTTP/1.1\r\nhost: ledger\r\n\r\n";

struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn who(peer: VerifiedPeer, Extension(wire): Extension<Wire>) -> String {
    assert!(wire.source.ip().is_loopback());
    format!("you are {} over {}", peer.spiffe_id(), wire.key_exchange)
}

async fn ledger(world: &World, age: Duration) -> Running {
    let acceptor = world.server(only(PAYMENTS)).connection_age(age).build().expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel();
    let router = Router::new().route("/who", get(who));
    let shutdown = async { drop(stopped.await) };
    let task = tokio::spawn(axum_serve(listener, acceptor, router, shutdown));
    Running { addr, stop, task }
}

async fn open(connector: &ClientConnector, addr: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let socket = TcpStream::connect(addr).await.expect("a connection");
    connector.connect(socket).await.expect("the server is whom we expect").0
}

/// Sends one request and reads one answer, headers and short body.
async fn ask(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(REQUEST).await?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await?;
    answer.truncate(read);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_handler_knows_its_peer() {
    let world = World::new();
    let running = ledger(&world, Duration::from_secs(60)).await;
    let mut stream = open(&world.client(PAYMENTS).build().expect("a client"), running.addr).await;
    for _ in 0..2 {
        let answer = ask(&mut stream).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("you are spiffe://prod.example/payments over "), "{answer}");
    }
}

#[tokio::test]
async fn http2_requests_know_their_peer_too() {
    let world = World::new();
    let running = ledger(&world, Duration::from_secs(60)).await;
    let stream = open(&world.client(PAYMENTS).alpn(&["h2"]).build().expect("a client"), running.addr).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    for _ in 0..2 {
        let request =
            hyper::Request::get("https://ledger/who").body(Empty::<Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let text = answer.into_body().collect().await.expect("a body").to_bytes();
        assert!(text.starts_with(b"you are spiffe://prod.example/payments over "), "{text:?}");
    }
}

#[tokio::test]
async fn stopping_does_not_wait_for_unfinished_handshakes() {
    let world = World::new();
    let running = ledger(&world, Duration::from_secs(60)).await;
    let _silent = TcpStream::connect(running.addr).await.expect("a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.stop.send(()).expect("still serving");
    let ended = tokio::time::timeout(Duration::from_secs(3), running.task).await.expect("returned in time");
    assert!(ended.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_refused_client_gets_no_answer() {
    let world = World::new();
    let running = ledger(&world, Duration::from_secs(60)).await;
    let connector = world.client("spiffe://prod.example/reporting").build().expect("a client");
    let mut stream = open(&connector, running.addr).await;
    let fault = ask(&mut stream).await.expect_err("refused");
    assert!(fault.to_string().contains("AccessDenied"), "{fault}");
}

#[tokio::test]
async fn an_old_connection_is_asked_to_end() {
    let world = World::new();
    let running = ledger(&world, Duration::from_millis(200)).await;
    let mut stream = open(&world.client(PAYMENTS).build().expect("a client"), running.addr).await;
    assert!(ask(&mut stream).await.expect("an answer").contains("200"));
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_u8()).await.expect("closed in time");
    assert!(ended.is_err());
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let peer = world.verify(&world.issuer.leaf(PAYMENTS).ends(noon() + Duration::from_secs(9)).forge());
    assert_eq!(acceptor.lifetime(&peer.expect("a peer")), Duration::from_secs(10));
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_returns() {
    let world = World::new();
    let running = ledger(&world, Duration::from_secs(60)).await;
    let mut stream = open(&world.client(PAYMENTS).build().expect("a client"), running.addr).await;
    assert!(ask(&mut stream).await.is_ok());
    running.stop.send(()).expect("still serving");
    let ended = tokio::time::timeout(Duration::from_secs(5), running.task).await.expect("returned in time");
    assert!(ended.expect("no panic").is_ok());
    assert!(TcpStream::connect(running.addr).await.is_err());
}

/// A server behind a front door: handlers see what was presented, good or bad.
async fn front_door(world: &World, limits: Limits) -> SocketAddr {
    let door = FrontDoor::new(world.verifier());
    let config = door.config(own(&world.issuer.leaf(LEDGER).forge())).expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let admit = move |arrival: &Arrival<'_>| -> Result<Admission<Presented>, Refusal> {
        Ok(Admission::new(door.judge(arrival.certificates())))
    };
    let who = |Extension(presented): Extension<Presented>| async move {
        match presented {
            Presented::None => "nobody".to_owned(),
            Presented::Verified(peer) => peer.spiffe_id().to_string(),
            Presented::Refused(refusal) => refusal.code().to_owned(),
        }
    };
    let router = Router::new().route("/who", get(who)).route("/peer", get(|_: VerifiedPeer| async { "in" }));
    let config = Arc::new(ArcSwap::new(config));
    let limits = Arc::new(ArcSwap::from_pointee(limits));
    tokio::spawn(serve_connections(listener, config, limits, admit, router, std::future::pending()));
    addr
}

#[tokio::test]
async fn a_front_door_answers_a_bad_certificate_in_words() {
    let world = World::new();
    let addr = front_door(&world, Limits::default()).await;
    let expired = own(&world.issuer.leaf(PAYMENTS).ends(noon() - Duration::from_secs(1)).forge());
    let connector = world.client(PAYMENTS).identity(expired).build().expect("a client");
    let answer = ask(&mut open(&connector, addr).await).await.expect("an answer");
    assert!(answer.ends_with("certificate_expired"), "{answer}");
    let good = world.client(PAYMENTS).build().expect("a client");
    let answer = ask(&mut open(&good, addr).await).await.expect("an answer");
    assert!(answer.ends_with(PAYMENTS), "{answer}");
}

#[tokio::test]
async fn a_handler_that_takes_a_peer_answers_401_without_one() {
    let world = World::new();
    let addr = front_door(&world, Limits::default()).await;
    let mut stream = open(&world.client(PAYMENTS).build().expect("a client"), addr).await;
    stream.write_all(b"GET /peer HTTP/1.1\r\nhost: ledger\r\n\r\n").await.expect("sent");
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(
        answer.contains("application/problem+json") && answer.contains("certificate_required"),
        "{answer}"
    );
}

#[tokio::test]
async fn slow_headers_and_silence_after_the_handshake_are_cut_off() {
    // Invariant 10.
    let world = World::new();
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let addr = front_door(&world, limits).await;
    let connector = world.client(PAYMENTS).build().expect("a client");
    for half in [&b"GET /who HTTP/1.1\r\nhost: l"[..], b""] {
        let mut stream = open(&connector, addr).await;
        stream.write_all(half).await.expect("sent");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after {half:?}");
    }
}

#[tokio::test]
async fn a_silent_handshake_is_cut_off() {
    let world = World::new();
    let limits = Limits { handshake_timeout: Duration::from_millis(100), ..Limits::default() };
    let addr = front_door(&world, limits).await;
    let mut silent = TcpStream::connect(addr).await.expect("a connection");
    let ended = tokio::time::timeout(Duration::from_secs(5), silent.read_u8()).await.expect("closed in time");
    assert!(ended.is_err());
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    // Invariant 10.
    let world = World::new();
    let addr = front_door(&world, Limits { connections_per_source: 1, ..Limits::default() }).await;
    let connector = world.client(PAYMENTS).build().expect("a client");
    let mut first = open(&connector, addr).await;
    let second = connector.connect(TcpStream::connect(addr).await.expect("a connection")).await;
    assert!(second.is_err());
    assert!(ask(&mut first).await.expect("an answer").contains("200"));
}

#[tokio::test]
async fn headers_past_the_limit_are_refused() {
    let world = World::new();
    let addr = front_door(&world, Limits::default()).await;
    let mut stream = open(&world.client(PAYMENTS).build().expect("a client"), addr).await;
    let long = format!("GET /who HTTP/1.1\r\nhost: ledger\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_route_that_requires_a_permission_refuses_who_lacks_it() {
    let world = World::new();
    let reporting = "spiffe://prod.example/reporting";
    let rule = PeerRule::trust_domain("prod.example".parse().expect("a domain"));
    let acceptor = world.server(rule).build().expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let gate = crate::gate::gate(&world);
    let write = gate.require("ledger:write".parse().expect("a permission"));
    let router =
        Router::new().route("/who", get(|peer: VerifiedPeer| async move { peer.spiffe_id().to_string() }));
    let router = router.route_layer(write);
    tokio::spawn(axum_serve_gated(listener, acceptor, gate, router, std::future::pending()));

    let mut allowed = open(&world.client(PAYMENTS).build().expect("a client"), addr).await;
    let answer = ask(&mut allowed).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(PAYMENTS), "{answer}");
    let mut refused = open(&world.client(reporting).build().expect("a client"), addr).await;
    let answer = ask(&mut refused).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains(r#""code":"permission_denied""#) && answer.contains("ledger:write"), "{answer}");
}

countersign_verifier::permissions! {
    mod asked = "ledger" { Read = "read", Erase = "erase" }
}

#[tokio::test]
async fn without_a_gate_nobody_is_allowed_anything() {
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let router = Router::new().route("/who", get(|_: Allowed<asked::Read>| async { "welcome" }));
    tokio::spawn(axum_serve(listener, acceptor, router, std::future::pending()));
    let mut stream = open(&world.client(PAYMENTS).build().expect("a client"), addr).await;
    let answer = ask(&mut stream).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[test]
fn a_permission_no_policy_declares_is_told_at_the_start() {
    let gate = crate::gate::gate(&World::new());
    assert_eq!(gate.unknown(asked::ALL), [<asked::Erase as NamedPermission>::LITERAL]);
}

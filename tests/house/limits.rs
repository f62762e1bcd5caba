//! Invariant 10: every limit, past it a clear refusal, and health that answers all the while.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use countersign_testkit::csr;
use rustls::{HandshakeKind, NamedGroup};
use serde_json::json;

use crate::{
    ca::{Ca, Setup},
    machine::Machine,
    program::{self, tool},
    wire::{self, Connection},
};

/// Whether the server ends a connection on which nothing useful is said.
fn is_cut(stream: &mut TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut octets = [0; 1024];
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match stream.read(&mut octets) {
            // An alert may come first.
            Ok(1..) => {}
            Ok(0) => return true,
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
    false
}

#[test]
fn a_handshake_that_does_not_come_is_cut() {
    let ca = Setup::new().set("limits.handshake_seconds", 1).start();
    let mut silent = TcpStream::connect(ca.listen()).unwrap();
    let started = Instant::now();
    assert!(is_cut(&mut silent, Duration::from_secs(5)));
    assert!(started.elapsed() >= Duration::from_millis(900), "it was given its time");
    let mut garbage = TcpStream::connect(ca.listen()).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(is_cut(&mut garbage, Duration::from_secs(5)));
}

#[test]
fn headers_that_trickle_are_cut() {
    let ca = Setup::new().set("limits.request_seconds", 1).start();
    let mut slow = Connection::open(ca.listen(), None).unwrap();
    slow.send(b"GET /v1/bundle HTTP/1.1\r\nhost: ca\r\nx-slow: ").unwrap();
    assert!(slow.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn headers_without_end_are_cut() {
    let ca = Ca::start();
    let mut endless = Connection::open(ca.listen(), None).unwrap();
    endless.send(b"GET /v1/bundle HTTP/1.1\r\nhost: ca\r\n").unwrap();
    let line = format!("x-{}: {}\r\n", "n".repeat(100), "v".repeat(4000));
    let refused = (0..1000).any(|_| endless.send(line.as_bytes()).is_err());
    assert!(
        refused || endless.is_closed_within(Duration::from_secs(5)) || endless.read().unwrap().status >= 400
    );
    assert_eq!(wire::get(ca.listen(), None, "/v1/bundle").status, 200);
}

#[test]
fn a_body_that_trickles_is_refused_in_time() {
    let ca = Setup::new().set("limits.request_seconds", 1).start();
    let mut slow = Connection::open(ca.listen(), None).unwrap();
    slow.send(b"POST /v1/enroll HTTP/1.1\r\nhost: ca\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
        .unwrap();
    slow.read().unwrap().refused(408, "request_timeout");
}

#[test]
fn a_source_past_its_rate_is_told_when_to_come_back_and_health_answers() {
    let ca = Setup::new()
        .set("limits.requests_per_second_per_source", 1)
        .set("limits.burst_per_source", 5)
        .start();
    let mut connection = Connection::open(ca.listen(), None).unwrap();
    let answers: Vec<_> = (0..20).map(|_| connection.ask("GET", "/v1/bundle", None).unwrap()).collect();
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!((5..10).contains(&served.len()), "{} were served", served.len());
    for answer in refused {
        let problem = answer.refused(429, "rate_limited");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert_eq!(problem.retry_after, Some(wait));
        assert!((1..=2).contains(&wait), "{wait}");
    }
    assert_eq!(wire::plain_get(ca.ops(), "/healthz").unwrap().0, 200);
    assert_eq!(wire::plain_get(ca.ops(), "/readyz").unwrap().0, 200);
    // The operator at the socket is another source.
    ca.json(&["machines", "list"]);
}

#[test]
fn an_identity_past_its_rate_waits_alone() {
    let ca = Setup::new().set("limits.renewals_per_minute_per_machine", 2).start();
    let machine = Machine::enrolled(&ca, "/eager").renewed(&ca).renewed(&ca);
    let problem = machine.ask_renewal(&ca).refused(429, "rate_limited");
    assert!(problem.retry_after.unwrap() <= 61 && problem.detail.contains("/eager"), "{problem}");
    Machine::enrolled(&ca, "/patient").renewed(&ca);
}

#[test]
fn renewing_ten_times_a_minute_is_allowed_by_default() {
    let ca = Ca::start();
    let mut machine = Machine::enrolled(&ca, "/payments");
    for _ in 0..10 {
        machine = machine.renewed(&ca);
    }
}

#[test]
fn a_source_with_too_many_connections_gets_no_more_and_gets_them_back() {
    let ca = Setup::new().set("limits.connections_per_source", 3).start();
    let mut held: Vec<Connection> = (0..3).map(|_| Connection::open(ca.listen(), None).unwrap()).collect();
    let one_more = Connection::open(ca.listen(), None).and_then(|mut c| c.ask("GET", "/v1/bundle", None));
    assert!(one_more.is_err(), "{one_more:?}");
    assert_eq!(held[0].ask("GET", "/v1/bundle", None).unwrap().status, 200, "those it has go on");
    drop(held);
    let until = Instant::now() + Duration::from_secs(5);
    while Connection::open(ca.listen(), None).and_then(|mut c| c.ask("GET", "/v1/bundle", None)).is_err() {
        assert!(Instant::now() < until, "a closed connection still counts");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_connection_is_closed_at_its_age() {
    let ca = Setup::new().set("limits.connection_age_seconds", 1).start();
    let mut old = Connection::open(ca.listen(), None).unwrap();
    assert_eq!(old.ask("GET", "/v1/bundle", None).unwrap().status, 200);
    assert!(old.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn every_connection_is_a_full_handshake() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let config = wire::config(Some(&machine.papers));
    for _ in 0..3 {
        let mut connection = Connection::open_with(ca.listen(), config.clone()).unwrap();
        connection.ask("GET", "/v1/bundle", None).unwrap();
        // A ticket would carry a verdict past its reasons.
        assert!(matches!(
            connection.kind(),
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
        ));
        assert_eq!(connection.tickets(), 0);
    }
}

#[test]
fn the_hybrid_key_exchange_is_taken_and_counted() {
    let ca = Ca::start();
    let mut connection = Connection::open(ca.listen(), None).unwrap();
    assert_eq!(connection.group(), Some(NamedGroup::X25519MLKEM768));
    // The server's side of the handshake ends a moment later, but before its answer.
    connection.ask("GET", "/v1/bundle", None).unwrap();
    let (_, metrics) = wire::plain_get(ca.ops(), "/metrics").unwrap();
    assert!(metrics.contains("countersign_handshakes_total{group=\"X25519MLKEM768\"}"), "{metrics}");
}

#[test]
fn tls_1_2_is_refused() {
    let (Some(openssl), ca) = (tool("openssl"), Ca::start()) else { return };
    let mut old = Command::new(openssl);
    old.args(["s_client", "-tls1_2", "-connect", &ca.listen().to_string()]);
    let ended = program::run(&mut old);
    assert_ne!(ended.code, Some(0));
    assert!(ended.err.contains("protocol version"), "{}", ended.err);
}

#[test]
fn a_client_without_the_hybrid_group_is_served_with_x25519() {
    let (Some(openssl), ca) = (tool("openssl"), Ca::start()) else { return };
    let mut client = Command::new(openssl);
    client.args(["s_client", "-groups", "X25519", "-connect", &ca.listen().to_string()]);
    let said = program::run(&mut client);
    assert!(said.out.contains("TLSv1.3") && said.out.contains("X25519"), "{}", said.out);
}

#[test]
fn metrics_are_there_and_carry_no_identity() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments").renewed(&ca);
    wire::post(ca.listen(), None, "/v1/renew", &json!({ "csr": csr::to_pem(&csr::plain(&csr::p256())) }))
        .refused(401, "certificate_required");
    let (status, text) = wire::plain_get(ca.ops(), "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"));
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names: BTreeSet<&str> = samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            assert!(value.parse::<f64>().is_ok(), "no number: {line:?}");
            series.split('{').next().unwrap_or_default()
        })
        .collect();
    for name in [
        "countersign_issued_total",
        "countersign_refused_total",
        "countersign_request_seconds_bucket",
        "countersign_request_seconds_sum",
        "countersign_handshakes_total",
        "countersign_connections",
        "countersign_store_group_seconds_count",
        "countersign_store_read_only",
        "countersign_machines",
        "countersign_certificates",
        "countersign_expiring_soon",
        "countersign_issuer_left_seconds",
        "countersign_server_certificate_left_seconds",
    ] {
        assert!(names.contains(name), "{name} is missing in {names:?}");
    }
    assert!(text.contains("countersign_refused_total{code=\"certificate_required\"} 1"), "{text}");
    assert!(text.contains("countersign_issued_total{door=\"renew\"} 1"), "{text}");
    assert!(
        !text.contains("payments")
            && !text.contains(&machine.response.machine)
            && !text.contains("127.0.0.1")
    );
}

#[test]
fn open_connections_are_counted() {
    let ca = Ca::start();
    let held: Vec<Connection> = (0..3).map(|_| Connection::open(ca.listen(), None).unwrap()).collect();
    // The client's side of a handshake ends before the server's.
    let becomes = |count: usize| {
        let until = Instant::now() + Duration::from_secs(10);
        let line = format!("countersign_connections {count}\n");
        while !wire::plain_get(ca.ops(), "/metrics").unwrap().1.contains(&line) {
            assert!(Instant::now() < until, "never {line}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    becomes(3);
    drop(held);
    becomes(0);
}

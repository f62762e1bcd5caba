//! Bodies that are no requests.

use countersign_api::paths::{ENROLL, RENEW};

use crate::{
    ca::Ca,
    machine::Machine,
    wire::{Answer, Connection},
};

const JSON: &str = "application/json";

#[track_caller]
fn sent(ca: &Ca, path: &str, kind: &str, body: &[u8]) -> Answer {
    Connection::open(ca.listen(), None).and_then(|mut c| c.ask("POST", path, Some((kind, body)))).unwrap()
}

#[test]
fn garbage_is_refused_as_malformed() {
    let ca = Ca::start();
    for garbage in [&b""[..], b"\0\xff\xfe", b"hello", b"[]", b"null", b"{\"csr\":7}", b"{\"csr\":\"\"}x"] {
        sent(&ca, ENROLL, JSON, garbage).refused(400, "body_malformed");
    }
    let unknown =
        sent(&ca, ENROLL, JSON, br#"{"invitation":"","csr":"","spiffe_id":"spiffe://prod.example/admin"}"#);
    assert!(unknown.refused(400, "body_malformed").detail.contains("spiffe_id"));
}

#[test]
fn a_body_of_another_kind_is_refused_and_the_right_kind_named() {
    let ca = Ca::start();
    let problem = sent(&ca, ENROLL, "text/plain", b"{}").refused(415, "content_type_unsupported");
    assert!(problem.detail.contains("application/json"));
}

#[test]
fn a_truncated_body_is_refused() {
    let ca = Ca::start();
    let whole = br#"{"invitation":"csinv1_x","csr":"y"}"#;
    for cut in 1..whole.len() {
        sent(&ca, ENROLL, JSON, &whole[..cut]).refused(400, "body_malformed");
    }
}

#[test]
fn a_body_that_breaks_off_leaves_the_ca_serving() {
    let ca = Ca::start();
    let mut broken = Connection::open(ca.listen(), None).unwrap();
    let head = format!(
        "POST {ENROLL} HTTP/1.1\r\nhost: ca\r\ncontent-type: {JSON}\r\ncontent-length: 500\r\n\r\n{{"
    );
    broken.send(head.as_bytes()).unwrap();
    drop(broken);
    sent(&ca, ENROLL, JSON, b"{}").refused(400, "body_malformed");
}

#[test]
fn an_oversized_body_is_refused_by_the_announced_limit() {
    let ca = Ca::start();
    let body = vec![b' '; 64 * 1024 + 1];
    let problem = sent(&ca, ENROLL, JSON, &body).refused(413, "body_too_large");
    assert!(problem.detail.contains("65536"), "{}", problem.detail);
    // Exactly at the limit it is read, and found to be nothing.
    sent(&ca, ENROLL, JSON, &body[1..]).refused(400, "body_malformed");
}

#[test]
fn an_oversized_body_in_chunks_is_refused_too() {
    let ca = Ca::start();
    let mut connection = Connection::open(ca.listen(), None).unwrap();
    let head = format!(
        "POST {ENROLL} HTTP/1.1\r\nhost: ca\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.send(head.as_bytes()).unwrap();
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    for _ in 0..3 {
        // The refusal may come, and the connection close, before everything is sent.
        let _ = connection.send(chunk.as_bytes());
    }
    connection.read().unwrap().refused(413, "body_too_large");
}

#[test]
fn a_deeply_nested_body_is_refused_and_the_ca_lives() {
    let ca = Ca::start();
    for open in ["[", "{\"a\":"] {
        let nested = open.repeat(60_000 / open.len());
        sent(&ca, ENROLL, JSON, nested.as_bytes()).refused(400, "body_malformed");
    }
    let inside = format!("{{\"csr\":{}", "[".repeat(60_000));
    sent(&ca, ENROLL, JSON, inside.as_bytes()).refused(400, "body_malformed");
    Machine::enrolled(&ca, "/payments");
}

#[test]
fn a_renewal_without_sense_is_refused_like_an_enrollment() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let mut connection = Connection::open(ca.listen(), Some(&machine.papers)).unwrap();
    let mut sent = |body: &[u8]| connection.ask("POST", RENEW, Some((JSON, body))).unwrap();
    sent(b"{").refused(400, "body_malformed");
    sent(b"{\"csr\":\"no PEM\"}").refused(400, "csr_malformed");
    sent(b"{}").refused(400, "body_malformed");
}

#[test]
fn an_unknown_route_and_a_wrong_method_are_problems_too() {
    let ca = Ca::start();
    let mut connection = Connection::open(ca.listen(), None).unwrap();
    connection.ask("GET", "/v2/enroll", None).unwrap().refused(404, "not_found");
    connection.ask("GET", ENROLL, None).unwrap().refused(405, "method_not_allowed");
}

//! Floods and faults: whoever floods waits in its own queue, everybody else is served, and the CA is whole afterwards
//! (invariant 10). The flood comes from one loopback address, the honest machine from another.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use countersign_api::paths::{BUNDLE, RENEW};
use countersign_testkit::csr;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use serde_json::json;

use crate::{
    ca::{Ca, Setup},
    machine::Machine,
    wire::{self, Connection},
};

const FLOOD: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// What a flood may cost in memory while it lasts; what it sends is far more.
const MEMORY: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// An honest renewal over a new connection, in the midst of whatever goes on.
#[track_caller]
fn renewed_meanwhile(ca: &Ca, machine: &Machine) -> Machine {
    let key = csr::p256();
    let body = json!({ "csr": csr::to_pem(&csr::plain(&key)) });
    let answer = Connection::open_from(HONEST, ca.listen(), Some(&machine.papers))
        .and_then(|mut connection| connection.post(RENEW, &body));
    Machine::from(&answer.unwrap(), key)
}

#[track_caller]
fn is_healthy(ca: &Ca) {
    for path in ["/healthz", "/readyz"] {
        assert_eq!(wire::plain_get(ca.ops(), path).unwrap().0, 200, "{path}");
    }
}

fn proc(ca: &Ca, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", ca.pid().as_raw_nonzero())).unwrap()
}

/// Resident memory in KiB.
fn memory(ca: &Ca) -> u64 {
    let status = proc(ca, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// CPU used so far, in clock ticks: user and system, proc_pid_stat(5).
fn cpu_ticks(ca: &Ca) -> u64 {
    let stat = proc(ca, "stat");
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Tries until it is so.
#[track_caller]
fn becomes(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "never {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn open_connections(ca: &Ca) -> usize {
    let (_, metrics) = wire::plain_get(ca.ops(), "/metrics").unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("countersign_connections "));
    line.unwrap().parse().unwrap()
}

/// Slow loris: headers that never end, a few octets at a time.
#[test]
fn headers_dribbled_over_many_connections_hold_up_nobody_else() {
    let ca = Setup::new().set("limits.request_seconds", 3).set("limits.connections_per_source", 60).start();
    let mut machine = Machine::enrolled(&ca, "/payments");
    becomes("quiet", || open_connections(&ca) == 0);
    let before = memory(&ca);
    let mut slow: Vec<Connection> =
        (0..60).map(|_| Connection::open_from(FLOOD, ca.listen(), None).unwrap()).collect();
    let head = format!("GET {BUNDLE} HTTP/1.1\r\nhost: ca\r\nx-slow: {}", "v".repeat(6000));
    for one in &mut slow {
        one.send(head.as_bytes()).unwrap();
    }
    let more =
        Connection::open_from(FLOOD, ca.listen(), None).and_then(|mut one| one.ask("GET", BUNDLE, None));
    assert!(more.is_err(), "a source has so many places and no more");
    for _ in 0..3 {
        machine = renewed_meanwhile(&ca, &machine);
    }
    becomes("rid of those that dribble", || {
        for one in &mut slow {
            // It may have been cut already.
            let _ = one.send(b"v");
        }
        is_healthy(&ca);
        assert!(memory(&ca) < before + MEMORY, "{} KiB became {}", before, memory(&ca));
        open_connections(&ca) == 0
    });
    let again =
        Connection::open_from(FLOOD, ca.listen(), None).and_then(|mut one| one.ask("GET", BUNDLE, None));
    assert_eq!(again.unwrap().status, 200, "its places are given back");
}

/// The first half of a ClientHello.
fn half_a_greeting() -> Vec<u8> {
    let name = ServerName::from(FLOOD);
    let mut client = ClientConnection::new(wire::config(None), name).unwrap();
    let mut greeting = Vec::new();
    client.write_tls(&mut greeting).unwrap();
    greeting.truncate(greeting.len() / 2);
    greeting
}

fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!(stream.read(&mut [0; 8]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn half_open_handshakes_hold_up_nobody_else_and_are_cut() {
    // As many as there are turns in all: only a queue of its own keeps them out of the way.
    let ca = Setup::new().set("limits.handshakes", 64).set("limits.handshake_seconds", 8).start();
    let machine = Machine::enrolled(&ca, "/payments");
    let greeting = half_a_greeting();
    let mut half: Vec<TcpStream> = (0..128)
        .map(|n| {
            let mut stream = wire::connect_from(FLOOD, ca.listen()).unwrap();
            // Some say nothing at all.
            if n % 2 == 0 {
                stream.write_all(&greeting).unwrap();
            }
            stream
        })
        .collect();
    renewed_meanwhile(&ca, &renewed_meanwhile(&ca, &machine));
    is_healthy(&ca);
    assert!(half.iter_mut().all(is_open), "the honest one was served while they were all still waiting");
    becomes("rid of those that say no more", || half.iter_mut().all(|one| !is_open(one)));
    let again =
        Connection::open_from(FLOOD, ca.listen(), None).and_then(|mut one| one.ask("GET", BUNDLE, None));
    assert_eq!(again.unwrap().status, 200);
}

#[test]
fn a_flood_of_handshakes_and_requests_is_told_to_wait_and_nobody_else_is() {
    let ca = Setup::new()
        .set("limits.requests_per_second_per_source", 1)
        .set("limits.burst_per_source", 20)
        .start();
    let mut machine = Machine::enrolled(&ca, "/payments");
    let before = memory(&ca);
    let (stop, told_to_wait, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // One that is too many is closed at once: so is the flood meant to fare.
                    let Ok(mut flood) = Connection::open_from(FLOOD, ca.listen(), None) else { continue };
                    handshakes.fetch_add(1, Ordering::Relaxed);
                    if let Ok(answer) = flood.ask("GET", BUNDLE, None)
                        && answer.status != 200
                    {
                        let problem = answer.refused(429, "rate_limited");
                        let wait = answer.header("retry-after").and_then(|value| value.parse().ok());
                        assert!(wait.is_some() && wait == problem.retry_after);
                        told_to_wait.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        becomes("a flood", || told_to_wait.load(Ordering::Relaxed) > 50);
        for _ in 0..5 {
            machine = renewed_meanwhile(&ca, &machine);
            is_healthy(&ca);
            assert!(memory(&ca) < before + MEMORY, "{} KiB became {}", before, memory(&ca));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(handshakes.into_inner() > 50);
    becomes("quiet", || open_connections(&ca) == 0);
}

#[test]
fn headers_without_end_over_many_connections_cost_no_memory() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let before = memory(&ca);
    // A megabyte each, in one header, in many, and in one line that is no header at all.
    let endless = [
        format!("GET {BUNDLE} HTTP/1.1\r\nhost: ca\r\nx-long: {}", "v".repeat(1024 * 1024)),
        format!("GET {BUNDLE} HTTP/1.1\r\nhost: ca\r\n{}", "x-many: v\r\n".repeat(100_000)),
        format!("GET /{}", "p".repeat(1024 * 1024)),
    ];
    let mut held = Vec::new();
    for head in endless.iter().cycle().take(60) {
        let mut one = Connection::open_from(FLOOD, ca.listen(), None).unwrap();
        // It is cut before it has said everything; one that is not would be read for ever.
        let _ = one.send(head.as_bytes());
        match one.read() {
            Ok(answer) => assert!((400..500).contains(&answer.status), "{}", answer.status),
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "the CA waits for more"),
        }
        assert!(memory(&ca) < before + MEMORY, "{} KiB became {}", before, memory(&ca));
        held.push(one);
    }
    renewed_meanwhile(&ca, &machine);
    is_healthy(&ca);
}

#[test]
fn a_ca_without_file_descriptors_neither_spins_nor_dies_and_serves_again() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let mut kept = Connection::open_from(HONEST, ca.listen(), Some(&machine.papers)).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let allow = |files: Option<u64>| {
        prlimit(Some(ca.pid()), Resource::Nofile, Rlimit { current: files, maximum }).unwrap();
    };
    let open = fs::read_dir(format!("/proc/{}/fd", ca.pid().as_raw_nonzero())).unwrap().count();
    allow(Some(u64::try_from(open).unwrap() + 4));
    let waiting: Vec<TcpStream> = (0..40).map(|_| wire::connect_from(FLOOD, ca.listen()).unwrap()).collect();
    becomes("out of file descriptors", || ca.log().contains("cannot accept a connection"));
    assert_eq!(kept.ask("GET", BUNDLE, None).unwrap().status, 200, "who was there goes on");
    // A window to measure in: a loop that spins takes all of a core.
    let before = cpu_ticks(&ca);
    std::thread::sleep(Duration::from_secs(1));
    assert!(cpu_ticks(&ca) - before < 30, "{} ticks in a second", cpu_ticks(&ca) - before);
    let key = csr::p256();
    let renewal = kept.post(RENEW, &json!({ "csr": csr::to_pem(&csr::plain(&key)) })).unwrap();
    let machine = Machine::from(&renewal, key);
    drop(waiting);
    allow(maximum);
    becomes("ready", || wire::plain_get(ca.ops(), "/readyz").is_ok_and(|(status, _)| status == 200));
    renewed_meanwhile(&ca, &machine);
    Machine::enrolled(&ca, "/reporting");
}

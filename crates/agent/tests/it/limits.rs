//! What the socket refuses whoever asks: connections past the limit, and a connection whose process has ended.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use crate::ca::PAYMENTS;
use crate::socket::{Machine, own};

/// Connections that one user may have open.
const OF_ONE_USER: usize = 256;

/// Whether the agent hangs up, within a time that is long enough for it to do so.
fn is_hung_up(stream: &mut UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // An admitted connection is greeted with the settings of HTTP/2.
    matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_past_the_limit_are_closed_and_those_within_it_go_on() {
    // Invariant 10.
    let machine = Machine::start(&own()).await;
    let early = machine.client().await;
    let connect = || UnixStream::connect(machine.socket()).unwrap();
    // Who looked whether the agent had started may still be counted.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut open: Vec<_> = (1..OF_ONE_USER).map(|_| connect()).collect();
    assert!(!is_hung_up(open.last_mut().unwrap()), "the last within the limit");
    for _ in 0..3 {
        assert!(is_hung_up(&mut connect()), "one more");
    }
    let first = early.x509_svids().await.unwrap().message().await.unwrap().unwrap();
    assert_eq!(first.svids[0].spiffe_id, PAYMENTS, "who was there before is served");
    open.truncate(OF_ONE_USER / 2);
    let mut next = connect();
    for _ in 0..100 {
        if !is_hung_up(&mut next) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        next = connect();
    }
    panic!("room is given back");
}

/// A process connects and ends; another, which has its end of the connection and if possible its number, listens on. Only
/// root can choose the next number.
const SUCCESSOR: &str = r#"
import os, socket, sys
caller = socket.socket(socket.AF_UNIX)
first = os.fork()
if first == 0:
    caller.connect(sys.argv[1])
    caller.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
    assert caller.recv(1), "served"
    os._exit(0)
assert os.waitpid(first, 0)[1] == 0
for _ in range(200):
    try:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(first - 1))
    except OSError:
        pass
    successor = os.fork()
    if successor in (0, first):
        break
    os.waitpid(successor, 0)
if successor == 0:
    if os.getpid() != first and _ < 199:
        os._exit(0)
    caller.settimeout(20)
    try:
        while caller.recv(4096):
            pass
    except ConnectionError:
        pass
    print("hung up", flush=True)
    os._exit(0)
os.waitpid(successor, 0)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_process_whoever_has_its_number_and_its_end_of_it() {
    let machine = Machine::start(&own()).await;
    let output = Command::new("python3").args(["-c", SUCCESSOR]).arg(machine.socket()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hung up\n", "{said}");
}

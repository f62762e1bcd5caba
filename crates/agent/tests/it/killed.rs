//! An agent that is killed while it issues a workload's identity.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::grpc::X509Response;
use crate::keeping::eventually;
use crate::sealing::{belongs, identity, keys, traced};
use crate::socket::{API, Machine, uid};

/// What a process is told, unless the agent ends meanwhile.
async fn told(machine: &Machine) -> Option<X509Response> {
    let socket = machine.socket();
    let call = tokio::spawn(async move {
        let client = crate::grpc::Client::connect(&socket).await;
        client.x509_svids().await.ok()?.message().await.ok()?
    });
    // A connection that breaks off ends the task.
    call.await.ok().flatten()
}

/// Starts the real program, lets a process ask it for its identity, and ends it. Whether the process was told.
async fn asks_a_traced(machine: &Machine, options: &[&str], log: &Path) -> bool {
    let mut strace = traced(machine, options, log);
    loop {
        if strace.try_wait().unwrap().is_some() {
            return false;
        }
        if std::os::unix::net::UnixStream::connect(machine.socket()).is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let is_told = told(machine).await.is_some();
    crate::sealing::end(strace);
    is_told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuance_that_is_killed_at_any_step_is_completed_by_the_next_start() {
    // Invariants 2 and 8.
    let mut machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let registrations = identity(&machine).join("workloads/registrations.json");
    eventually("heard", || fs::read_to_string(&registrations).is_ok_and(|text| text.contains(API))).await;
    machine.stop().await;
    let template = machine.scratch.path().join("template");
    fs::rename(identity(&machine), &template).unwrap();
    let log = machine.scratch.path().join("strace");
    for call in ["fsync", "rename", "symlink"] {
        let mut felt = 0;
        loop {
            let _ = fs::remove_dir_all(identity(&machine));
            let copied = Command::new("cp").arg("-a").arg(&template).arg(identity(&machine)).status();
            assert!(copied.unwrap().success());
            let (trace, kill) =
                (format!("trace={call}"), format!("inject={call}:signal=KILL:when={}", felt + 1));
            if asks_a_traced(&machine, &["-e", &trace, "-e", &kill], &log).await {
                break;
            }
            felt += 1;
            let _ = fs::remove_file(machine.socket());
            machine.start_again("").await;
            let found = told(&machine).await.unwrap_or_else(|| panic!("{call} {felt}: served"));
            belongs(&found.svids[0]);
            let left = keys(&machine);
            assert!(left.iter().all(|(_, is_clear)| !is_clear), "{call} {felt}: {left:?}");
            machine.stop().await;
        }
        assert!(felt > 1, "{call}: {felt}");
    }
}

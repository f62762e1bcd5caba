//! The program itself: exit codes, what it prints, how it ends.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_verifier::SystemClock;

use crate::ca::Ca;
use crate::grpc::Client;
use crate::socket::own;

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-agent"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    agent(arguments).output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn enroll(ca: &Ca, dir: &Path) -> Output {
    output(&["enroll", "--invitation", &ca.invitation(1).to_string(), "--dir", dir.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread")]
async fn enroll_renew_and_status_work_together() {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().to_str().unwrap();
    let first = enroll(&ca, scratch.path());
    assert!(first.status.success(), "{}", words(&first.stderr));
    assert!(words(&first.stdout).contains("enrolled as spiffe://prod.example/payments"));
    let again = enroll(&ca, scratch.path());
    assert!(again.status.success());
    assert!(words(&again.stdout).contains("already enrolled"));
    assert!(words(&again.stdout).contains("this invitation was redeemed here already"));
    assert!(!words(&again.stdout).contains("--replace"), "the CA would refuse it");
    let renewed = output(&["renew", "--dir", dir]);
    assert!(renewed.status.success(), "{}", words(&renewed.stderr));
    assert_eq!(ca.issued(), 2);
    let status = output(&["status", "--dir", dir, "--json"]);
    assert!(status.status.success());
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["last_attempt"]["action"], "renew");
    let file = scratch.path().join("agent.toml");
    std::fs::write(&file, "dir = \".\"\n").unwrap();
    let status = output(&["status", "--config", file.to_str().unwrap()]);
    assert!(status.status.success(), "{}", words(&status.stderr));
    assert!(words(&status.stdout).contains("spiffe://prod.example/payments"));
    std::fs::write(scratch.path().join("current/svid.key"), "not a key").unwrap();
    assert_eq!(output(&["status", "--dir", dir]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_those_of_the_manual() {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().to_str().unwrap();
    let code = |arguments: &[&str]| output(arguments).status.code();
    assert_eq!(code(&["status", "--dir", dir]), Some(1), "missing");
    assert_eq!(code(&["enroll", "--invitation", "csinv1_typo.00000000", "--dir", dir]), Some(1));
    assert_eq!(code(&["enroll", "--dir", dir]), Some(2));
    assert_eq!(code(&["run"]), Some(2));
    assert_eq!(code(&["status"]), Some(2));
    assert_eq!(code(&["renew", "--dir", dir]), Some(1));
    let mut away = ca.invitation(1);
    away.url = "https://127.0.0.1:1".into();
    let away = output(&["enroll", "--invitation", &away.to_string(), "--dir", dir]);
    assert_eq!(away.status.code(), Some(3));
    assert!(words(&away.stderr).starts_with("unreachable: "), "{}", words(&away.stderr));
    assert!(words(&away.stderr).contains("\nhint: "));
    let mut wrong = ca.invitation(1);
    wrong.root_sha256 = [9; 32];
    let wrong = output(&["enroll", "--invitation", &wrong.to_string(), "--dir", dir]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(words(&wrong.stderr).contains("not the CA of the invitation"), "{}", words(&wrong.stderr));
}

#[test]
fn a_configuration_with_an_unknown_key_names_the_nearest_known() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("agent.toml");
    std::fs::write(&file, "dri = \"/d\"\n").unwrap();
    let output = output(&["run", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output.stderr).contains("unknown key \"dri\""), "{}", words(&output.stderr));
    assert!(words(&output.stderr).contains("did you mean \"dir\"?"));
}

#[test]
fn a_place_where_nothing_can_be_written_is_named() {
    let invitation = countersign_api::Invitation {
        url: "https://127.0.0.1:1".into(),
        trust_domain: "prod.example".into(),
        root_sha256: [0; 32],
        secret: [0; 32],
    };
    let output = output(&["enroll", "--invitation", &invitation.to_string(), "--dir", "/dev/null/identity"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output.stderr).contains("/dev/null/identity"), "{}", words(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_agent_renews_on_sighup_and_ends_well_on_sigterm() {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    assert!(enroll(&ca, scratch.path()).status.success());
    let mut running =
        agent(&["run", "--dir", scratch.path().to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
    let pid = running.id().to_string();
    let until = |what: &str, holds: &mut dyn FnMut() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("started", &mut || scratch.path().join(".run.lock").exists());
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status().unwrap();
    signal("-HUP");
    until("renewed", &mut || ca.issued() == 2);
    signal("-TERM");
    let mut status = None;
    until("ended", &mut || {
        status = running.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_that_it_is_ready_alive_and_ending() {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    assert!(enroll(&ca, scratch.path()).status.success());
    let path = scratch.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut running = agent(&["run", "--dir", scratch.path().to_str().unwrap()])
        .env("NOTIFY_SOCKET", &path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heard = || {
        let mut words = [0; 1000];
        let count = manager.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..count]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    let alive = heard();
    assert!(alive.starts_with("WATCHDOG=1\nSTATUS=Fresh, spiffe://prod.example/payments until "), "{alive}");
    Command::new("kill").arg(running.id().to_string()).status().unwrap();
    while heard() != "STOPPING=1" {}
    assert!(running.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_is_followed_by_one_that_serves_the_same_at_the_same_socket_without_the_ca() {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    let (dir, socket, file) = (
        scratch.path().join("identity"),
        scratch.path().join("agent.sock"),
        scratch.path().join("agent.toml"),
    );
    assert!(enroll(&ca, &dir).status.success());
    std::fs::write(&file, format!("dir = \"identity\"\n[workload_api]\nsocket = {socket:?}\n{}", own()))
        .unwrap();
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut running =
            agent(&["run", "--config", file.to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "it serves again");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut stream = Client::connect(&socket).await.x509_svids().await.unwrap();
        served.push(stream.message().await.unwrap().unwrap().svids);
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(socket.exists(), "a kill leaves the file behind");
        assert!(stream.message().await.is_err());
        ca.behave(|_, _| Some((503, String::new())));
    }
    assert_eq!(served[0], served[1]);
}

/// The program is killed at each stage; the next start completes the work. Built with the feature `failpoints` only.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_stage_is_followed_by_one_that_completes_the_work() {
    for stage in countersign_agent::Stage::ALL {
        let ca = Ca::start(Arc::new(SystemClock)).await;
        let scratch = tempfile::tempdir().unwrap();
        let invitation = ca.invitation(1).to_string();
        let arguments = ["enroll", "--invitation", &invitation, "--dir", scratch.path().to_str().unwrap()];
        let killed = agent(&arguments).env("COUNTERSIGN_AGENT_FAILPOINT", stage.as_str()).output().unwrap();
        assert_eq!(killed.status.code(), None, "killed at {stage:?}");
        assert!(output(&arguments).status.success());
        assert_eq!(ca.issued(), 1);
    }
}

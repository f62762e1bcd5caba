//! The disk fails at every call by which an enrollment or a renewal changes it, in turn: the next start recovers, never with
//! a certificate beside another's key.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use countersign_verifier::SystemClock;

use crate::ca::{Ca, certified_key_of, public_key_of};

/// The calls by which the agent changes the disk.
const CALLS: [&str; 6] = ["openat", "fsync", "rename", "symlink", "mkdir", "unlink"];
/// What can come of them. Each call meets one of these, in turn: all at every call would take minutes.
const FAULTS: [&str; 3] = ["ENOSPC", "EIO", "EACCES"];
/// The first files that a program opens are its libraries.
const LIBRARIES: usize = 8;
const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-agent");

fn traced(options: &[&str], arguments: &[&str]) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options).arg(PROGRAM).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

/// How often the program makes each call, undisturbed.
fn counts(arguments: &[&str]) -> Vec<(&'static str, usize)> {
    let trace = format!("trace={}", CALLS.join(","));
    let output = traced(&["-c", "-U", "calls,name", "-e", &trace], arguments);
    let table = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = |call: &'static str| {
        let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(call));
        (call, line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
    };
    CALLS.into_iter().map(count).collect()
}

/// Whatever is published belongs together.
fn is_whole(dir: &Path) {
    if dir.join("svid.pem").exists() || dir.join("svid.key").exists() {
        assert_eq!(public_key_of(&dir.join("svid.key")), certified_key_of(&dir.join("svid.pem")));
    }
}

/// Runs the command with each call failing in turn, then undisturbed. `place` says in which directory the next one works.
fn survives(arguments: impl Fn(&str) -> Vec<String>, mut place: impl FnMut() -> std::path::PathBuf) {
    let command = |dir: &Path| arguments(dir.to_str().unwrap());
    let mut felt = 0;
    let first = command(&place());
    let plan = counts(&first.iter().map(String::as_str).collect::<Vec<_>>());
    for (call, count) in plan {
        let from = if call == "openat" { LIBRARIES } else { 1 };
        for n in from..=count {
            let fault = FAULTS[(n + call.len()) % FAULTS.len()];
            let dir = place();
            let words = command(&dir);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let inject = format!("inject={call}:error={fault}:when={n}");
            let trace = format!("trace={call}");
            let output = traced(&["-o", "/dev/null", "-e", &trace, "-e", &inject], &words);
            felt += usize::from(!output.status.success());
            is_whole(&dir);
            let again = Command::new(PROGRAM).args(&words).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&again.stderr).into_owned();
            assert!(again.status.success(), "{call} {n} {fault}: {said}");
            assert!(dir.join("svid.key").exists());
            is_whole(&dir);
        }
    }
    assert!(felt > 10, "faults were felt: {felt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrollment_whose_disk_fails_at_any_call_is_completed_by_the_next() {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let invitation = ca.invitation(1).to_string();
    let scratch = tempfile::tempdir().unwrap();
    let arguments =
        |dir: &str| ["enroll", "--invitation", &invitation, "--dir", dir].map(str::to_owned).to_vec();
    let mut number = 0;
    tokio::task::block_in_place(|| {
        survives(arguments, || {
            number += 1;
            scratch.path().join(number.to_string())
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_whose_disk_fails_at_any_call_is_completed_by_the_next() {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("identity");
    let enrolled = Command::new(PROGRAM)
        .args(["enroll", "--invitation", &ca.invitation(1).to_string(), "--dir"])
        .arg(&dir)
        .output()
        .unwrap();
    assert!(enrolled.status.success());
    let arguments = |dir: &str| ["renew", "--dir", dir].map(str::to_owned).to_vec();
    tokio::task::block_in_place(|| survives(arguments, || dir.clone()));
}

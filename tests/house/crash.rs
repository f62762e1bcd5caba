//! A CA killed right after it has answered (invariant 2).

use std::{collections::BTreeSet, path::Path, process::Command};

use countersign_testkit::csr;

use crate::{
    ca::Ca,
    machine::{Machine, enroll},
    program,
};

/// Every serial in the book; none is twice.
pub(crate) fn serials(ca: &Ca) -> BTreeSet<String> {
    let issued = ca.json(&["issued", "list"]);
    let all: Vec<_> = issued.as_array().unwrap().iter().map(|one| one["serial"].to_string()).collect();
    let different: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(different.len(), all.len(), "a serial is twice: {issued}");
    different
}

/// The certificate may not have been kept yet, its intent is.
#[test]
fn a_certificate_that_was_answered_is_known_after_a_kill() {
    let mut ca = Ca::start();
    for round in 0..5 {
        let invitation = ca.invite(&format!("/kept/{round}"), &[]);
        let key = csr::p256();
        let machine = Machine::from(&enroll(&ca, &invitation, &csr::plain(&key)), key);
        ca.kill();
        ca.start_again();
        assert!(serials(&ca).contains(&format!("\"{}\"", machine.serial())));
        machine.renewed(&ca);
    }
}

/// `scripts/crash` in small: the server and agents under load, killed at random, and a checker that is itself checked.
#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_twice_whoever_is_killed() {
    let program = Path::new(env!("CARGO_BIN_EXE_countersign")).with_file_name("crash");
    assert!(program.exists(), "{} is not there: cargo build --workspace", program.display());
    let mut run = Command::new(&program);
    run.args(["--kills", "20", "--seed", "20", "--check-every", "10", "--machines", "8", "--agents", "2"]);
    run.arg("--bin-dir").arg(program.with_file_name(""));
    if cfg!(feature = "failpoints") {
        run.arg("--arrows");
    }
    let said = program::run(&mut run).succeeded();
    assert!(said.contains("20 kills") && said.contains("nothing lost, nothing twice"), "{said}");
}

#[cfg(not(feature = "failpoints"))]
#[test]
#[ignore = "needs cargo test --features failpoints, as scripts/check does"]
fn a_ca_killed_at_any_arrow_of_the_corridor_recovers() {}

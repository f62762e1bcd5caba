//! A CA killed right after it has answered (invariant 2).

use std::collections::BTreeSet;

use countersign_testkit::csr;

use crate::{
    ca::Ca,
    machine::{Machine, enroll},
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

#[cfg(not(feature = "failpoints"))]
#[test]
#[ignore = "needs cargo test --features failpoints, as scripts/check does"]
fn a_ca_killed_at_any_arrow_of_the_corridor_recovers() {}

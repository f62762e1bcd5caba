//! Kill -9 at every arrow of the corridor (invariant 2): what was acknowledged is there afterwards, no serial is twice,
//! and the agent gets its certificate when it tries again.
//!
//! The program has these arrows only when it is built with the feature `failpoints`, as `scripts/check` does.

use std::{collections::BTreeSet, fs, os::unix::process::ExitStatusExt as _, time::Duration};

use crate::{
    ca::{Ca, Setup},
    crash::serials,
};

const ARROWS: [&str; 8] = [
    "AfterApprove",
    "AfterPrepare",
    "BeforeApply",
    "AfterApply",
    "AfterSync",
    "AfterRecord",
    "AfterSign",
    "BeforeAnswer",
];

/// A CA that dies at the arrow it is told.
fn mortal() -> Ca {
    Setup::new().environment("COUNTERSIGN_FAILPOINT", "{dir}/arrow").start()
}

fn arm(ca: &Ca, arrow: &str) {
    // What was signed last is kept by a group of its own, which shall not be the one that dies.
    std::thread::sleep(Duration::from_millis(150));
    fs::write(ca.scratch("arrow.new"), arrow).unwrap();
    fs::rename(ca.scratch("arrow.new"), ca.scratch("arrow")).unwrap();
}

/// The CA has died by the arrow, and stands up again without it.
fn buried_and_risen(ca: &mut Ca, arrow: &str) {
    let status = ca.wait();
    assert_eq!(status.signal(), Some(9), "{arrow}: {status}");
    fs::remove_file(ca.scratch("arrow")).unwrap();
    ca.start_again();
}

/// What was acknowledged before is still there.
fn nothing_lost(ca: &Ca, before: &BTreeSet<String>, arrow: &str) {
    let after = serials(ca);
    assert!(before.is_subset(&after), "{arrow}: lost {:?}", before.difference(&after).collect::<Vec<_>>());
}

#[test]
fn an_enrollment_killed_at_any_arrow_completes_at_the_next_try() {
    let mut ca = mortal();
    for arrow in ARROWS {
        let invitation = ca.invite(&format!("/killed/{arrow}"), &[]);
        let before = serials(&ca);
        let enroll = ["enroll", "--invitation", &invitation, "--dir", arrow];
        arm(&ca, arrow);
        ca.agent(&enroll).failed(3, &["unreachable"]);
        buried_and_risen(&mut ca, arrow);
        nothing_lost(&ca, &before, arrow);
        ca.agent(&enroll).succeeded();
        ca.agent(&["renew", "--dir", arrow]).succeeded();
    }
    let machines = ca.json(&["machines", "list"]);
    assert_eq!(
        machines.as_array().unwrap().len(),
        ARROWS.len(),
        "one machine for each invitation: {machines}"
    );
}

#[test]
fn a_renewal_killed_at_any_arrow_completes_at_the_next_try() {
    let mut ca = mortal();
    ca.enroll_agent("/payments", "machine");
    for arrow in ARROWS {
        let before = serials(&ca);
        arm(&ca, arrow);
        ca.agent(&["renew", "--dir", "machine"]).failed(3, &["unreachable"]);
        buried_and_risen(&mut ca, arrow);
        nothing_lost(&ca, &before, arrow);
        ca.agent(&["renew", "--dir", "machine"]).succeeded();
    }
    // The last certificate is good for more than the file it is in.
    ca.agent(&["renew", "--dir", "machine"]).succeeded();
    assert!(ca.events("lineage.clone").is_empty(), "a crash is no clone");
    let machine = &ca.json(&["machines", "list"])[0];
    assert_eq!(machine["status"], "active");
}

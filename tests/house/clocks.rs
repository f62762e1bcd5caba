//! Wrong clocks: whoever is refused for one is told by how much.

use crate::{
    ca::{Ca, Setup},
    machine::Machine,
    program::faketime,
};

fn enroll(ca: &Ca) -> Vec<String> {
    let invitation = ca.invite("/payments", &[]);
    ["enroll", "--invitation", &invitation, "--dir", "m"].map(str::to_owned).to_vec()
}

#[track_caller]
fn refused_at(ca: &Ca, offset: &str, arguments: &[String], words: &[&str]) {
    let Some(library) = faketime() else { return };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    ca.agent_at(&library, offset, &arguments).failed(1, words);
    assert!(!ca.scratch("m/svid.pem").exists(), "nothing is published that cannot be used");
}

#[test]
fn a_machine_days_ahead_is_told_by_how_much_the_ca_seems_expired() {
    let ca = Ca::start();
    let enroll = enroll(&ca);
    refused_at(&ca, "+3d", &enroll, &["out of its time by 2d", "compare the clocks"]);
    ca.agent(&enroll.iter().map(String::as_str).collect::<Vec<_>>()).succeeded();
}

#[test]
fn a_machine_hours_ahead_is_told_so_before_it_keeps_a_useless_certificate() {
    let ca = Ca::start();
    refused_at(&ca, "+3h", &enroll(&ca), &["3h", "ahead", "clock"]);
}

#[test]
fn a_machine_behind_is_told_by_how_much_the_ca_seems_unborn() {
    let ca = Ca::start();
    refused_at(&ca, "-2h", &enroll(&ca), &["out of its time by 1h 5", "compare the clocks"]);
}

#[test]
fn a_ca_ahead_of_everybody_is_seen_by_its_machines() {
    let Some(library) = faketime() else { return };
    let ca = Setup::new().clock(library).init();
    ca.set_clock("+5h");
    let mut ca = ca;
    ca.start_again();
    let invitation = ca.invite("/payments", &[]);
    let said = ca.agent(&["enroll", "--invitation", &invitation, "--dir", "m"]);
    said.failed(1, &["out of its time by 4h 5", "compare the clocks"]);
}

#[test]
fn a_machine_a_little_behind_or_ahead_notices_nothing() {
    let Some(library) = faketime() else { return };
    let ca = Ca::start();
    for (name, offset) in [("behind", "-50s"), ("ahead", "+50s")] {
        let invitation = ca.invite(&format!("/{name}"), &[]);
        ca.agent_at(&library, offset, &["enroll", "--invitation", &invitation, "--dir", name]).succeeded();
        ca.agent_at(&library, offset, &["renew", "--dir", name]).succeeded();
    }
}

#[test]
fn a_renewal_after_expiry_says_since_when_and_how_to_come_back() {
    let Some(library) = faketime() else { return };
    let never_back = "lifetime = \"1h\"\nrecovery = \"0s\"\n";
    let ca = Setup::new().clock(library.clone()).profile("workload", never_back).start();
    ca.enroll_agent("/payments", "m");
    ca.set_clock("+3h");
    ca.agent_at(&library, "+3h", &["renew", "--dir", "m"]).failed(1, &["expired too long ago", "enroll"]);
    // The machine's own clock stood still: the CA's tells it so.
    ca.agent(&["renew", "--dir", "m"]).failed(1, &["recovery_over", "3h behind the CA's"]);
}

/// A machine that sleeps past its window, but not past its end, renews as ever.
#[test]
fn a_renewal_late_in_life_is_granted() {
    let Some(library) = faketime() else { return };
    let ca = Setup::new().clock(library).start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.set_clock("+59m");
    machine.renewed(&ca);
}

/// Invariant 4, seen from outside: the profile's limit is to the second.
#[test]
fn a_certificate_lives_exactly_as_long_as_its_profile_says() {
    let Some(library) = faketime() else { return };
    let ca = Setup::new().clock(library).profile("brief", "lifetime = \"1m\"\n").start();
    ca.invite("/brief", &["--profile", "brief"]);
    let machine = Machine::enrolled(&ca, "/brief");
    ca.set_clock("+55s");
    machine.renewed(&ca);
    ca.set_clock("+62s");
    machine.ask_renewal(&ca).refused(401, "certificate_expired");
}

//! Coming back after expiry, and when not.

use std::path::PathBuf;

use countersign_testkit::csr;
use serde_json::json;

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    program::faketime,
    wire::{self, Answer},
};

fn started(library: PathBuf) -> Ca {
    Setup::new().clock(library).start()
}

#[track_caller]
fn ask(ca: &Ca, machine: &Machine, request: &[u8]) -> Answer {
    let body = json!({ "csr": csr::to_pem(request) });
    wire::post(ca.listen(), Some(&machine.papers), "/v1/recover", &body)
}

#[track_caller]
fn recovered(ca: &Ca, machine: &Machine) -> Machine {
    let key = csr::p256();
    Machine::from(&ask(ca, machine, &csr::plain(&key)), key)
}

#[test]
fn a_box_that_was_off_comes_back_by_itself_once() {
    let Some(library) = faketime() else { return };
    let ca = started(library);
    let machine = Machine::enrolled(&ca, "/payments");
    ask(&ca, &machine, &csr::plain(&csr::p256())).refused(409, "certificate_unexpired");

    ca.set_clock("+2d");
    let back = recovered(&ca, &machine);
    assert_eq!(back.response.machine, machine.response.machine);
    let on = back.renewed(&ca);
    assert_eq!(ca.events("machine.recovered").len(), 1);

    ca.set_clock("+4d");
    ask(&ca, &on, &csr::plain(&csr::p256())).refused(403, "recovery_used");
    assert_eq!(ca.events("recovery.refused").len(), 1);
    let shown = ca.run(&["machines", "show", &machine.response.machine]).succeeded();
    assert!(shown.contains("reset-recovery"), "{shown}");
    ca.run(&["machines", "reset-recovery", &id("/payments"), "--reason", "a broken fan"]).succeeded();
    // Of its two certificates it presented the older one last; the newer proves the same machine.
    recovered(&ca, &on);
}

#[test]
fn a_lost_answer_is_given_again() {
    let Some(library) = faketime() else { return };
    let ca = started(library);
    let machine = Machine::enrolled(&ca, "/payments");
    ca.set_clock("+2d");
    let key = csr::p256();
    let first = Machine::from(&ask(&ca, &machine, &csr::plain(&key)), key);
    let again = ask(&ca, &machine, &csr::plain(&first.key));
    assert_eq!(again.json::<countersign_api::CertificateResponse>().chain, first.response.chain);
}

#[test]
fn whoever_is_away_too_long_or_brings_nothing_enrolls_again() {
    let Some(library) = faketime() else { return };
    let ca = started(library);
    let machine = Machine::enrolled(&ca, "/payments");
    ca.set_clock("+80h");
    ask(&ca, &machine, &csr::plain(&csr::p256())).refused(403, "recovery_over");
    let body = json!({ "csr": csr::to_pem(&csr::plain(&csr::p256())) });
    wire::post(ca.listen(), None, "/v1/recover", &body).refused(401, "certificate_required");
}

#[test]
fn a_suspended_revoked_or_unregistered_machine_does_not_come_back() {
    let Some(library) = faketime() else { return };
    let ca = started(library);
    let [suspended, struck, gone] =
        ["/suspended", "/struck", "/gone"].map(|path| Machine::enrolled(&ca, path));
    ca.run(&["machines", "suspend", &id("/suspended")]).succeeded();
    ca.run(&["revoke", "serial", &struck.serial()]).succeeded();
    ca.run(&["registrations", "remove", &id("/gone")]).succeeded();
    ca.set_clock("+2d");
    ask(&ca, &suspended, &csr::plain(&csr::p256())).refused(403, "machine_suspended");
    let answer = ask(&ca, &struck, &csr::plain(&csr::p256()));
    assert!([401, 403].contains(&answer.status), "{}", answer.text());
    ask(&ca, &gone, &csr::plain(&csr::p256())).refused(403, "registration_gone");
}

#[test]
fn an_expired_certificate_proves_nothing_anywhere_else() {
    let Some(library) = faketime() else { return };
    let ca = started(library);
    let machine = Machine::enrolled(&ca, "/payments");
    ca.set_clock("+2d");
    for path in ["/v1/renewal", "/v1/registrations", "/v1/trust"] {
        wire::get(ca.listen(), Some(&machine.papers), path).refused(401, "certificate_expired");
    }
    let body = json!({ "spiffe_id": id("/api"), "csr": "" });
    let answer = wire::post(ca.listen(), Some(&machine.papers), "/v1/workload", &body);
    answer.refused(401, "certificate_expired");
}

#[test]
fn a_profile_may_want_an_operators_word() {
    let Some(library) = faketime() else { return };
    let profile = "lifetime = \"1h\"\napprove_recovery = true\n";
    let ca = Setup::new().clock(library).profile("workload", profile).start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.set_clock("+2d");
    ask(&ca, &machine, &csr::plain(&csr::p256())).refused(403, "machine_held");
    assert_eq!(ca.json(&["machines", "list"])[0]["status"], "held");
    ca.run(&["machines", "approve", &machine.response.machine]).succeeded();
    recovered(&ca, &machine);
}

#[test]
fn a_hurried_machine_is_told_when_and_why() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let window = |machine: &Machine| -> countersign_api::RenewalWindow {
        wire::get(ca.listen(), Some(&machine.papers), "/v1/renewal").json()
    };
    let usual = window(&machine);
    assert!(usual.reason.is_none() && usual.renew_before <= machine.response.renew_before, "{usual:?}");
    let all = ["machines", "renew", &id("/payments"), "--reason", "a leaked key", "--within", "1s"];
    ca.run(&all).succeeded();
    let hurried = window(&machine);
    assert_eq!(hurried.reason.as_deref(), Some("a leaked key"));
    assert!(hurried.renew_before < usual.renew_before, "{hurried:?}");
    // Certificates are recorded to the second.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(window(&machine.renewed(&ca)).reason, None, "what was renewed since is not meant");
}

/// A virtual machine's snapshot, brought back when the certificate in it has ended; the machine itself has gone on meanwhile.
#[test]
fn a_restored_snapshot_whose_certificate_has_ended_gets_nothing_and_harms_nobody() {
    let Some(library) = faketime() else { return };
    let ca = started(library.clone());
    let live = ca.enroll_agent("/payments", "live");
    let copied = std::process::Command::new("cp").arg("-a").arg(&live).arg(ca.scratch("snapshot")).status();
    assert!(copied.unwrap().success());
    let at = |offset: &str, name: &str| {
        ca.set_clock(offset);
        ca.agent_at(&library, offset, &["renew", "--dir", name])
    };
    for offset in ["+30m", "+59m", "+80m"] {
        at(offset, "live").succeeded();
    }
    at("+100m", "snapshot").failed(1, &["the CA refused"]);
    assert_eq!(ca.json(&["machines", "list"])[0]["status"], "active");
    assert!(ca.events("lineage.clone").is_empty(), "last month's backup is no weapon");
    at("+100m", "live").succeeded();
}

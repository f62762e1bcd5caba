//! Renewals that must not happen, and those that must.

use std::sync::Barrier;

use countersign_api::RenewalWindow;
use countersign_identity::Timestamp;
use countersign_testkit::{Authority, csr};

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    program::faketime,
    wire::{self, Answer, Papers},
};

#[track_caller]
fn renew_as(ca: &Ca, papers: &Papers) -> Answer {
    let body = serde_json::json!({ "csr": csr::to_pem(&csr::plain(&csr::p256())) });
    wire::post(ca.listen(), Some(papers), "/v1/renew", &body)
}

/// A machine of another CA that has the same trust domain.
fn foreign(trust_domain: &str) -> Papers {
    let now = Timestamp::from_unix(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap());
    let hour = std::time::Duration::from_secs(3600);
    let issuer = Authority::root_with(trust_domain, |_| {}).issuer();
    let forged =
        issuer.leaf(&format!("spiffe://{trust_domain}/payments")).begins(now - hour).ends(now + hour);
    let forged = forged.forge();
    Papers { chain: forged.chain(), key: forged.key_der() }
}

#[test]
fn a_renewal_without_a_certificate_is_asked_for_one() {
    let ca = Ca::start();
    let body = serde_json::json!({ "csr": csr::to_pem(&csr::plain(&csr::p256())) });
    let problem = wire::post(ca.listen(), None, "/v1/renew", &body).refused(401, "certificate_required");
    assert!(problem.hint.is_some());
}

#[test]
fn a_renewal_gives_a_new_serial_and_key_in_the_same_lineage() {
    let ca = Ca::start();
    let first = Machine::enrolled(&ca, "/payments");
    let second = first.renewed(&ca);
    let third = second.renewed(&ca);
    assert_eq!(first.response.machine, third.response.machine);
    let issued = ca.json(&["issued", "list", "--spiffe-id", &id("/payments")]);
    let issued = issued.as_array().unwrap();
    assert_eq!(issued.len(), 3);
    assert!(issued.iter().all(|one| one["lineage"] == issued[0]["lineage"]));
    let mut serials = vec![first.serial(), second.serial(), third.serial()];
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 3);
}

#[test]
fn an_expired_certificate_is_refused_with_the_clock_of_the_ca_and_an_event() {
    let Some(library) = faketime() else { return };
    let ca = Setup::new().clock(library).start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.set_clock("+61m");
    let problem = machine.ask_renewal(&ca).refused(401, "certificate_expired");
    assert!(problem.detail.contains("expired 1m"), "it says by how much: {}", problem.detail);
    assert!(problem.server_time.is_some() && problem.hint.is_some());
    assert_eq!(ca.events("lineage.expired_presented").len(), 1);
    let status = &ca.json(&["machines", "list"])[0]["status"];
    assert_eq!(status, "active", "an old backup must not be a weapon");
}

#[test]
fn a_revoked_certificate_is_refused() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.run(&["revoke", "serial", &machine.serial()]).succeeded();
    machine.ask_renewal(&ca).refused(401, "certificate_revoked");
}

#[test]
fn a_revoked_machine_lineage_or_key_renews_no_more() {
    let ca = Ca::start();
    for kind in ["machine", "lineage", "key"] {
        let path = format!("/by/{kind}");
        let machine = Machine::enrolled(&ca, &path);
        let issued = ca.json(&["issued", "show", &machine.serial()]);
        let target = issued[kind].as_str().unwrap().to_owned();
        ca.run(&["revoke", kind, &target, "--reason", "test"]).succeeded();
        let answer = machine.ask_renewal(&ca);
        assert!([401, 403].contains(&answer.status), "{kind}: {}", answer.text());
        let shown = ca.json(&["issued", "show", &machine.serial()]);
        assert_eq!(shown["status"], "revoked", "{kind}");
    }
}

#[test]
fn a_dry_run_of_a_revocation_changes_nothing() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let reached = ca.json(&["revoke", "machine", &id("/payments"), "--dry-run"]);
    assert!(reached.to_string().contains(&machine.serial()), "{reached}");
    machine.renewed(&ca);
}

#[test]
fn a_certificate_of_another_ca_is_foreign() {
    let ca = Ca::start();
    renew_as(&ca, &foreign("prod.example")).refused(401, "certificate_foreign");
    renew_as(&ca, &foreign("other.example")).refused(401, "certificate_foreign");
}

#[test]
fn a_certificate_that_has_not_begun_is_refused_and_says_by_how_much() {
    let Some(library) = faketime() else { return };
    let ca = Setup::new().clock(library).start();
    ca.set_clock("+3h");
    let machine = Machine::enrolled(&ca, "/payments");
    ca.set_clock("+2h");
    let problem = machine.ask_renewal(&ca).refused(401, "certificate_not_yet_valid");
    assert!(problem.detail.contains("58m") || problem.detail.contains("59m"), "{}", problem.detail);
    assert!(problem.server_time.is_some());
}

/// Invariant 5.
#[test]
fn a_renewal_with_the_old_key_is_refused() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let problem = machine.renew_with(&ca, &csr::plain(&machine.key)).refused(409, "key_in_use");
    assert!(problem.hint.unwrap().contains("new key"));
    let other = Machine::enrolled(&ca, "/reporting");
    machine.renew_with(&ca, &csr::plain(&other.key)).refused(409, "key_in_use");
}

/// Invariant 3.
#[test]
fn a_removed_registration_ends_its_machines_at_their_next_renewal() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.run(&["registrations", "remove", &id("/payments")]).succeeded();
    let answer = machine.ask_renewal(&ca);
    let problem: countersign_api::Problem = serde_json::from_slice(&answer.body).unwrap();
    assert!([401, 403].contains(&answer.status), "{problem}");
    assert!(
        ["registration_gone", "machine_removed", "certificate_revoked"].contains(&problem.code.as_str()),
        "{problem}"
    );
}

/// Invariant 3.
#[test]
fn a_tightened_registration_tightens_the_next_certificate() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.run(&["registrations", "set", &id("/payments"), "--dns", "pay.example"]).succeeded();
    let wider = machine.renewed(&ca);
    assert!(wider.leaf().windows(11).any(|octets| octets == b"pay.example"));
    ca.run(&["registrations", "set", &id("/payments"), "--dns", "new.example"]).succeeded();
    let narrower = wider.renewed(&ca);
    assert!(!narrower.leaf().windows(11).any(|octets| octets == b"pay.example"));
}

#[test]
fn a_removed_machine_and_a_suspended_one_are_told_apart() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.run(&["machines", "suspend", &machine.response.machine]).succeeded();
    machine.ask_renewal(&ca).refused(403, "machine_suspended");
    ca.run(&["machines", "resume", &machine.response.machine]).succeeded();
    let machine = machine.renewed(&ca);
    ca.run(&["machines", "remove", &machine.response.machine]).succeeded();
    machine.ask_renewal(&ca).refused(403, "machine_removed");
}

#[test]
fn a_new_enrollment_replaces_the_machine_before_it() {
    let ca = Ca::start();
    let before = Machine::enrolled(&ca, "/payments");
    let after = Machine::enrolled(&ca, "/payments");
    before.ask_renewal(&ca).refused(403, "machine_replaced");
    after.renewed(&ca);
}

/// A retried request may give one key several serials: its holder is one, so none accuses the other, and each is answered.
#[test]
fn parallel_renewals_with_one_key_are_all_answered_and_none_is_taken_for_a_clone() {
    const REQUESTS: usize = 6;
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let key = csr::p256();
    let request = csr::plain(&key);
    let start = Barrier::new(REQUESTS);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let all = [(); REQUESTS].map(|()| {
            scope.spawn(|| {
                start.wait();
                machine.renew_with(&ca, &request)
            })
        });
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for answer in &answers[..2] {
        let copy = countersign_testkit::KeyPair::try_from(key.serialize_der()).unwrap();
        Machine::from(answer, copy).renewed(&ca);
    }
    assert!(ca.events("lineage.clone").is_empty());
}

#[test]
fn of_two_parallel_renewals_with_two_keys_the_later_supersedes_the_earlier() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let keys = [csr::p256(), csr::p256()];
    let start = Barrier::new(2);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let (machine, ca, start) = (&machine, &ca, &start);
        let both = keys.each_ref().map(|key| {
            let request = csr::plain(key);
            scope.spawn(move || {
                start.wait();
                machine.renew_with(ca, &request)
            })
        });
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let [a, b] = keys;
    let both = [Machine::from(&answers[0], a), Machine::from(&answers[1], b)];
    let issued = ca.json(&["issued", "list", "--spiffe-id", &id("/payments")]);
    let status = |machine: &Machine| {
        let issued = issued.as_array().unwrap();
        issued.iter().find(|one| one["serial"] == machine.serial()).unwrap()["status"].clone()
    };
    let live: Vec<_> = both.iter().filter(|machine| status(machine) != "revoked").collect();
    assert_eq!(live.len(), 1, "exactly one pending certificate is left: {issued}");
    live[0].renewed(&ca);
    assert_eq!(ca.events("lineage.superseded").len(), 1);
}

#[test]
fn certificates_asked_for_and_never_presented_are_limited() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let [_, _, _, last] = [(); 4].map(|()| machine.renewed(&ca));
    let problem = machine.ask_renewal(&ca).refused(429, "too_many_pending");
    assert!(problem.retry_after.is_some() && problem.hint.unwrap().contains("newest"));
    last.renewed(&ca);
}

/// A clone: the disk was copied, both go on.
#[test]
fn a_restored_old_copy_of_a_machine_is_refused_suspended_and_written_down() {
    let ca = Ca::start();
    let original = ca.enroll_agent("/payments", "original");
    let copied = std::process::Command::new("cp").arg("-a").arg(&original).arg(ca.scratch("copy")).status();
    assert!(copied.unwrap().success());
    // Twice: only when the new certificate has been presented is the copied one older than it.
    ca.agent(&["renew", "--dir", "original"]).succeeded();
    ca.agent(&["renew", "--dir", "original"]).succeeded();
    ca.agent(&["renew", "--dir", "copy"])
        .failed(1, &["certificate_superseded", "copy of this machine's key"]);
    let machine = ca.json(&["machines", "list"])[0].clone();
    assert_eq!(machine["status"], "suspended");
    let events = ca.events("lineage.clone");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["machine"], machine["machine"]);
    for holder in ["source", "last_source"] {
        assert_eq!(events[0][holder], "127.0.0.1", "{}", events[0]);
    }
    // The other holder is stopped as well, until an operator has looked.
    ca.agent(&["renew", "--dir", "original"]).failed(1, &["machine_suspended"]);
    ca.run(&["machines", "resume", machine["machine"].as_str().unwrap()]).succeeded();
    ca.agent(&["renew", "--dir", "original"]).succeeded();
}

#[test]
fn a_profile_may_hold_or_only_report_a_clone() {
    let profile = |on_clone| format!("lifetime = \"1h\"\non_clone = \"{on_clone}\"\n");
    let ca = Setup::new().profile("held", &profile("hold")).profile("told", &profile("report")).start();
    for (name, status) in [("held", "held"), ("told", "active")] {
        let path = format!("/{name}");
        ca.invite(&path, &["--profile", name]);
        let first = Machine::enrolled(&ca, &path);
        let third = first.renewed(&ca).renewed(&ca);
        first.ask_renewal(&ca).refused(403, "certificate_superseded");
        let machine = ca.json(&["machines", "show", &first.response.machine]);
        assert_eq!(machine["status"], status, "{machine}");
        if name == "held" {
            third.ask_renewal(&ca).refused(403, "machine_held");
            ca.run(&["machines", "approve", &first.response.machine]).succeeded();
        }
        third.renewed(&ca);
    }
    assert_eq!(ca.events("lineage.clone").len(), 2);
}

#[test]
fn a_certificate_of_ours_that_the_book_has_lost_is_refused() {
    let mut ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    assert!(ca.stop().success());
    let book = ca.state().join("book");
    std::fs::remove_dir_all(&book).unwrap();
    let refused = ca.try_start().unwrap_err();
    assert!(refused.contains("missing") && refused.contains("backup"), "{refused}");
    std::fs::create_dir(&book).unwrap();
    ca.start_again();
    machine.ask_renewal(&ca).refused(401, "certificate_unknown");
}

#[test]
fn a_leaf_without_its_issuer_is_known_by_the_book() {
    // The live set of DESIGN §3: no path leads from this leaf alone to the root.
    let ca = Ca::start();
    let mut machine = Machine::enrolled(&ca, "/payments");
    machine.papers.chain.truncate(1);
    // The certificate is kept a moment after it is answered.
    let known = (0..40).any(|_| {
        let answer = machine.ask_renewal(&ca);
        std::thread::sleep(std::time::Duration::from_millis(50));
        answer.status == 200
    });
    assert!(known, "the book knows what it signed");
}

/// The CA spreads those who were born together, and tells each the same as often as it asks.
#[test]
fn each_machine_is_told_a_few_seconds_of_its_window_and_the_same_ones_again() {
    let mut ca = Ca::start();
    let machines: Vec<_> = (0..5).map(|n| Machine::enrolled(&ca, &format!("/n{n}"))).collect();
    let time = |text: &str| -> Timestamp { text.parse().unwrap() };
    let told = |ca: &Ca, machine: &Machine| -> (Timestamp, Timestamp) {
        let told: RenewalWindow = wire::get(ca.listen(), Some(&machine.papers), "/v1/renewal").json();
        assert_eq!((told.reason, told.ask_again), (None, 300));
        (time(&told.renew_after), time(&told.renew_before))
    };
    let first: Vec<_> = machines.iter().map(|machine| told(&ca, machine)).collect();
    for (machine, (after, before)) in machines.iter().zip(&first) {
        let whole = (time(&machine.response.renew_after), time(&machine.response.renew_before));
        assert!(
            whole.0 <= *after && after < before && *before <= whole.1,
            "{after} to {before} of {whole:?}"
        );
        assert!(before.since(*after).as_secs() < 10);
        assert_eq!(told(&ca, machine), (*after, *before));
    }
    let starts: std::collections::BTreeSet<_> = first.iter().map(|window| window.0).collect();
    assert_eq!(starts.len(), 5, "there is room for each: {starts:?}");
    ca.kill();
    ca.start_again();
    for machine in &machines {
        let again = told(&ca, machine);
        assert!(
            time(&machine.response.renew_after) <= again.0 && again.1 <= time(&machine.response.renew_before)
        );
    }
}

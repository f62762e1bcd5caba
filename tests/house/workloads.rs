//! Workloads of a machine: who may fetch what, and what becomes of it.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_api::WorkloadRegistrations;
use countersign_testkit::csr;
use serde_json::{Value, json};

use crate::{
    ca::{Ca, id},
    machine::Machine,
    wire::{self, Answer},
};

#[track_caller]
fn register(ca: &Ca, path: &str, parent: &str) {
    let invited = ca.run(&["invite", &id(path), "--parent", &id(parent), "--selector", "unix:uid:1001"]);
    assert_eq!(invited.succeeded().trim(), "", "there is nothing to hand out");
}

#[test]
fn a_selector_that_no_agent_would_understand_is_refused_where_it_is_registered() {
    let ca = Ca::start();
    let stated = ["--parent", &id("/host"), "--selector", "unix:uid:root"];
    for command in [["invite", &id("/api")], ["registrations set", &id("/api")]] {
        let words = [&command[0].split(' ').collect::<Vec<_>>()[..], &command[1..], &stated].concat();
        ca.run(&words).ended(2, &["\"unix:uid:root\"", "expected unix:uid:N"]);
    }
    // Whatever program wrote it down.
    for wrong in ["k8s:ns:prod", "unix:path:bin/api", ""] {
        let one = json!({ "spiffe_id": id("/api"), "parent": id("/host"), "selectors": [wrong] });
        std::fs::write(ca.scratch("registrations"), one.to_string()).unwrap();
        let said = ca.run(&["registrations", "import", "registrations"]);
        said.ended(1, &[&format!("{wrong:?}"), "expected unix:uid:N"]);
    }
    ca.run(&["registrations", "show", &id("/api")]).ended(1, &["is not registered"]);
}

#[track_caller]
fn ask(ca: &Ca, machine: &Machine, path: &str, request: &[u8]) -> Answer {
    let body = json!({ "spiffe_id": id(path), "csr": csr::to_pem(request) });
    wire::post(ca.listen(), Some(&machine.papers), "/v1/workload", &body)
}

#[track_caller]
fn fetched(ca: &Ca, machine: &Machine, path: &str) -> Machine {
    let key = csr::p256();
    Machine::from(&ask(ca, machine, path, &csr::plain(&key)), key)
}

#[track_caller]
fn listed(ca: &Ca, machine: &Machine, query: &str) -> WorkloadRegistrations {
    wire::get(ca.listen(), Some(&machine.papers), &format!("/v1/registrations{query}")).json()
}

#[test]
fn a_machine_fetches_its_workloads_and_nobody_elses() {
    let ca = Ca::start();
    let (host, other) = (Machine::enrolled(&ca, "/host"), Machine::enrolled(&ca, "/other"));
    register(&ca, "/host/api", "/host");
    let first = fetched(&ca, &host, "/host/api");
    let second = fetched(&ca, &host, "/host/api");
    assert_eq!(first.response.machine, second.response.machine);
    let again = ask(&ca, &host, "/host/api", &csr::plain(&second.key));
    assert_eq!(again.json::<Value>()["chain"], second.response.chain, "a lost answer is given again");

    ask(&ca, &other, "/host/api", &csr::plain(&csr::p256())).refused(403, "workload_foreign");
    ask(&ca, &host, "/other", &csr::plain(&csr::p256())).refused(403, "workload_foreign");
    ask(&ca, &host, "/nobody", &csr::plain(&csr::p256())).refused(403, "workload_foreign");
    // A workload is no machine: it renews nothing, and has no workloads.
    second.ask_renewal(&ca).refused(403, "workload_certificate");
    ask(&ca, &second, "/host/api", &csr::plain(&csr::p256())).refused(403, "workload_certificate");
    let shown = ca.json(&["machines", "show", &second.response.machine]);
    assert_eq!(shown["parent"], host.response.machine);
}

#[test]
fn workloads_fall_with_their_machine() {
    let ca = Ca::start();
    let host = Machine::enrolled(&ca, "/host");
    register(&ca, "/host/api", "/host");
    let workload = fetched(&ca, &host, "/host/api");
    ca.run(&["machines", "suspend", &id("/host")]).succeeded();
    let trust = wire::get(ca.listen(), Some(&workload.papers), "/v1/trust");
    trust.refused(403, "machine_suspended");
    ca.run(&["machines", "resume", &id("/host")]).succeeded();
    assert_eq!(wire::get(ca.listen(), Some(&workload.papers), "/v1/trust").status, 200);
    let reached = ca.json(&["revoke", "machine", &id("/host")]);
    assert!(reached.to_string().contains(&workload.serial()), "{reached}");
    wire::get(ca.listen(), Some(&workload.papers), "/v1/trust").refused(401, "certificate_revoked");
}

#[test]
fn a_machine_hears_of_a_hurry_about_one_of_its_workloads_until_that_has_renewed() {
    let ca = Ca::start();
    let host = Machine::enrolled(&ca, "/host");
    for path in ["/host/api", "/host/mail"] {
        register(&ca, path, "/host");
        fetched(&ca, &host, path);
    }
    let told = || -> countersign_api::RenewalWindow {
        wire::get(ca.listen(), Some(&host.papers), "/v1/renewal").json()
    };
    assert!(told().workloads.is_empty());
    ca.run(&["machines", "renew", &id("/host/api"), "--reason", "a leaked key", "--within", "1s"])
        .succeeded();
    let hurried = told();
    assert_eq!(hurried.reason, None, "the machine itself is not meant");
    assert_eq!(hurried.workloads.len(), 1);
    let (window, usual) = (&hurried.workloads[0], &hurried.renew_before);
    assert_eq!((&window.spiffe_id, window.reason.as_str()), (&id("/host/api"), "a leaked key"));
    assert!(window.renew_before < *usual, "{window:?}");
    // Certificates are recorded to the second.
    std::thread::sleep(Duration::from_millis(1_100));
    fetched(&ca, &host, "/host/api");
    assert!(told().workloads.is_empty(), "what was issued since is not meant");
}

#[test]
fn a_machine_is_told_at_once_of_what_is_registered_under_it() {
    let ca = Ca::start();
    let host = Machine::enrolled(&ca, "/host");
    let none = listed(&ca, &host, "");
    assert!(none.registrations.is_empty());
    let asked = Instant::now();
    let told = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| listed(&ca, &host, &format!("?after={}", none.sequence)));
        std::thread::sleep(Duration::from_millis(200));
        register(&ca, "/elsewhere/api", "/elsewhere");
        register(&ca, "/host/api", "/host");
        waiting.join().unwrap()
    });
    assert!(asked.elapsed() < Duration::from_secs(20), "it was held until its end");
    assert_eq!(told.registrations.len(), 1);
    assert_eq!(told.registrations[0].selectors, ["unix:uid:1001"]);
    assert!(told.sequence > none.sequence);
}

#[test]
fn what_was_seen_being_served_is_shown_beside_what_was_issued() {
    let ca = Ca::start();
    let (host, other) = (Machine::enrolled(&ca, "/host"), Machine::enrolled(&ca, "/other"));
    let say = |serial: &str, address: &str| {
        let body = json!({ "serial": serial, "address": address });
        wire::post(ca.listen(), Some(&host.papers), "/v1/deployed", &body)
    };
    assert_eq!(say(&host.serial(), "127.0.0.1:443").status, 204);
    let shown = ca.run(&["machines", "show", &host.response.machine]).succeeded();
    assert!(shown.contains("127.0.0.1:443") && !shown.contains("not deployed"), "{shown}");
    host.renewed(&ca);
    let shown = ca.run(&["machines", "show", &host.response.machine]).succeeded();
    assert!(shown.contains("issued but not deployed"), "{shown}");
    say(&other.serial(), "127.0.0.1:443").refused(400, "parameter_invalid");
    say(&host.serial(), "nowhere").refused(400, "parameter_invalid");
}

#[test]
fn a_jwt_svid_says_who_and_for_whom_under_the_key_in_the_bundle() {
    let ca = Ca::start();
    let (host, other) = (Machine::enrolled(&ca, "/host"), Machine::enrolled(&ca, "/other"));
    register(&ca, "/host/api", "/host");
    let ask = |machine: &Machine, path: &str, audience: Value| {
        let body = json!({ "spiffe_id": id(path), "audience": audience });
        wire::post(ca.listen(), Some(&machine.papers), "/v1/jwt-svid", &body)
    };
    let bundle: Value = wire::get(ca.listen(), None, "/v1/bundle").json();
    let key = bundle["keys"].as_array().unwrap().iter().find(|key| key["use"] == "jwt-svid").unwrap();
    for (path, audience) in [("/host", json!("ledger")), ("/host/api", json!(["ledger", "mail"]))] {
        let answer: Value = ask(&host, path, audience.clone()).json();
        let parts: Vec<&str> = answer["svid"].as_str().unwrap().split('.').collect();
        let decoded =
            |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(decoded(parts[0]), json!({ "alg": "ES256", "typ": "JWT", "kid": key["kid"] }));
        let claims = decoded(parts[1]);
        assert_eq!(claims["sub"], id(path));
        let several = audience.as_array().cloned().unwrap_or_else(|| vec![audience]);
        assert_eq!(claims["aud"], json!(several));
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(life, 300);
    }
    ask(&other, "/host/api", json!("ledger")).refused(403, "workload_foreign");
    ask(&host, "/host", json!([])).refused(400, "parameter_invalid");
    ca.run(&["machines", "suspend", &id("/host")]).succeeded();
    ask(&host, "/host/api", json!("ledger")).refused(403, "machine_suspended");
}

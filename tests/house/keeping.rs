//! Keeping a CA: reload, rotate, back up, move registrations, stop.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};
use serde_json::json;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    program::{self, tool},
    wire::{self, Connection},
};

#[test]
fn a_reload_takes_up_limits_profiles_and_log_level() {
    let ca = Ca::start();
    assert!(ca.run(&["reload"]).succeeded().contains("nothing has changed"));
    ca.set("limits.body_bytes", 1000.into());
    ca.set("log.level", "debug".into());
    fs::write(ca.home().join("profiles/brief.toml"), "lifetime = \"5m\"\n").unwrap();
    let said = ca.run(&["reload"]).succeeded();
    for changed in ["limits", "log.level", "profiles"] {
        assert!(said.contains(changed), "{said}");
    }
    wire::post(ca.listen(), None, "/v1/enroll", &json!({ "csr": "x".repeat(1000) }))
        .refused(413, "body_too_large");
    ca.invite("/brief", &["--profile", "brief"]);
}

#[test]
fn a_reload_that_would_change_who_the_ca_is_names_the_key_and_changes_nothing() {
    let ca = Ca::start();
    let before = fs::read_to_string(ca.config()).unwrap();
    // The socket is found through the file, so a changed `state` is tried with the old one at hand.
    for (key, value) in
        [("trust_domain", "other.example"), ("listen", "127.0.0.1:1"), ("store.engine", "memory")]
    {
        ca.set("limits.body_bytes", 1000.into());
        ca.set(key, value.into());
        ca.run(&["reload"]).ended(1, &["reload_refused", key, "restart needed"]);
        fs::write(ca.config(), before.clone()).unwrap();
    }
    wire::post(ca.listen(), None, "/v1/enroll", &json!({ "csr": "x".repeat(1000) }))
        .refused(400, "body_malformed");
    assert!(ca.run(&["reload"]).succeeded().contains("nothing has changed"));
    // The socket lies in `state`, so the command would look for it elsewhere: the signal does not.
    ca.set("state", "elsewhere".into());
    kill_process(ca.pid(), Signal::HUP).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !ca.log().contains("state changed: restart needed") {
        assert!(Instant::now() < until, "{}", ca.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reload_with_one_wrong_file_changes_nothing() {
    let ca = Ca::start();
    ca.set("limits.body_bytes", 1000.into());
    fs::write(ca.home().join("profiles/broken.toml"), "lifetime = \"forever\"\n").unwrap();
    ca.run(&["reload"]).ended(1, &["reload_refused", "broken.toml", "forever"]);
    wire::post(ca.listen(), None, "/v1/enroll", &json!({ "csr": "x".repeat(1000) }))
        .refused(400, "body_malformed");
    fs::remove_file(ca.home().join("profiles/broken.toml")).unwrap();
    ca.set("log.level", "loud=very".into());
    ca.run(&["reload"]).failed(2, &["log.level", "loud=very"]);
    kill_process(ca.pid(), Signal::HUP).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !ca.log().contains("reload refused") {
        assert!(Instant::now() < until, "{}", ca.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    wire::post(ca.listen(), None, "/v1/enroll", &json!({ "csr": "x".repeat(1000) }))
        .refused(400, "body_malformed");
}

#[test]
fn a_hangup_reloads_as_well() {
    let ca = Ca::start();
    ca.set("limits.body_bytes", 1000.into());
    kill_process(ca.pid(), Signal::HUP).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let body = json!({ "csr": "x".repeat(1000) });
    while wire::post(ca.listen(), None, "/v1/enroll", &body).status != 413 {
        assert!(Instant::now() < until, "SIGHUP changed nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_termination_lets_a_request_finish_and_ends_with_0() {
    let mut ca = Ca::start();
    let mut idle = Connection::open(ca.listen(), None).unwrap();
    let mut busy = Connection::open(ca.listen(), None).unwrap();
    busy.send(b"POST /v1/enroll HTTP/1.1\r\nhost: ca\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{")
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    kill_process(ca.pid(), Signal::TERM).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    busy.send(b"}").unwrap();
    busy.read().unwrap().refused(400, "body_malformed");
    assert!(idle.is_closed_within(Duration::from_secs(5)));
    assert_eq!(ca.wait().code(), Some(0), "{}", ca.log());
    assert!(!ca.state().join("admin.sock").exists());
}

/// The subject of the issuer that a machine's certificate names.
fn issuer_of(machine: &Machine) -> String {
    let (_, certificate) = X509Certificate::from_der(machine.leaf()).unwrap();
    certificate.issuer().to_string()
}

#[test]
fn a_new_issuer_signs_while_serving_and_the_old_ones_machines_still_renew() {
    let ca = Ca::start();
    let old = Machine::enrolled(&ca, "/payments");
    let rotate = ["issuer", "rotate", "--passphrase-file", "passphrase"];
    ca.run(&rotate).succeeded();
    let fresh = Machine::enrolled(&ca, "/reporting");
    assert_ne!(issuer_of(&old), issuer_of(&fresh));
    let moved = old.renewed(&ca);
    assert_eq!(issuer_of(&moved), issuer_of(&fresh));
    let issuers = ca.json(&["issuer", "list"]);
    let states: Vec<_> =
        issuers.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["signing", "trusted"]);
    // An agent that pinned the root before knows the CA after.
    ca.enroll_agent("/third", "m");
    ca.run(&rotate).succeeded();
    ca.agent(&["renew", "--dir", "m"]).succeeded();
    assert_eq!(ca.json(&["issuer", "list"]).as_array().unwrap().len(), 3);
}

#[test]
fn a_rotation_outlives_a_restart() {
    let mut ca = Ca::start();
    let old = Machine::enrolled(&ca, "/payments");
    ca.run(&["issuer", "rotate", "--passphrase-file", "passphrase"]).succeeded();
    let before = ca.json(&["issuer", "list"]);
    ca.stop();
    ca.start_again();
    assert_eq!(ca.json(&["issuer", "list"]), before);
    old.renewed(&ca);
}

#[test]
fn a_rotation_with_a_wrong_passphrase_changes_nothing() {
    let ca = Ca::start();
    let before = ca.json(&["issuer", "list"]);
    fs::write(ca.scratch("wrong"), "incorrect horse battery\n").unwrap();
    let said = ca.run(&["issuer", "rotate", "--passphrase-file", "wrong"]).ended(1, &["passphrase"]);
    assert!(!said.contains("incorrect horse"));
    assert_eq!(ca.json(&["issuer", "list"]), before);
}

#[test]
fn a_backup_is_whole_private_and_cannot_sign() {
    let (Some(tar), ca) = (tool("tar"), Ca::start()) else { return };
    Machine::enrolled(&ca, "/payments");
    ca.run(&["backup", "backup.tar"]).succeeded();
    let file = ca.scratch("backup.tar");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = program::run(Command::new(tar).arg("-tf").arg(&file)).succeeded();
    for name in [
        "book.backup",
        "countersign.toml",
        "profiles/workload.toml",
        "state/root.pem",
        "state/issuers/1/key.pem",
    ] {
        assert!(listed.lines().any(|line| line == name), "{name} is missing in {listed}");
    }
    assert!(!listed.contains("unlock"), "whoever steals the backup could sign: {listed}");
    ca.run(&["backup", "backup.tar"]).ended(1, &["exists"]);
    let left: Vec<_> = fs::read_dir(ca.state()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("backup")), "{left:?}");
}

#[test]
fn registrations_go_out_and_come_in_unchanged() {
    let ca = Ca::start();
    ca.invite("/payments", &["--dns", "pay.example", "--ip", "192.0.2.7", "--owner", "payments team"]);
    ca.invite("/fleet", &["--machines", "many", "--until", "2030-01-01T00:00:00Z"]);
    ca.invite("/blue", &["--dns", "www.example", "--shared"]);
    ca.run(&["registrations", "export", "all.jsonl"]).succeeded();
    let other = Ca::start();
    fs::copy(ca.scratch("all.jsonl"), other.scratch("all.jsonl")).unwrap();
    let dry = other.json(&["registrations", "import", "all.jsonl", "--dry-run"]);
    assert_eq!(dry, json!({ "created": 3, "changed": 0, "unchanged": 0 }));
    assert!(other.json(&["registrations", "list"]).as_array().unwrap().is_empty());
    assert_eq!(other.json(&["registrations", "import", "all.jsonl"]), dry);
    let again = other.json(&["registrations", "import", "all.jsonl"]);
    assert_eq!(again, json!({ "created": 0, "changed": 0, "unchanged": 3 }));
    let without_time = |ca: &Ca| {
        let mut all = ca.json(&["registrations", "list"]);
        all.as_array_mut().unwrap().iter_mut().for_each(|one| one["created"] = json!(null));
        all
    };
    assert_eq!(without_time(&ca), without_time(&other));
}

#[test]
fn an_import_with_one_mistake_takes_nothing() {
    let ca = Ca::start();
    let line = |path: &str, dns: &str| json!({ "spiffe_id": id(path), "profile": "workload", "machines": "one", "dns": [dns] });
    for bad in [
        line("/countersign/ca", "x.example"),
        line("/b", "a.example"),
        json!({ "spiffe_id": "spiffe://other.example/x", "profile": "workload", "machines": "one" }),
        json!({ "spiffe_id": id("/b"), "profile": "no-such", "machines": "one" }),
        json!({ "spiffe_id": id("/b"), "profil": "workload" }),
    ] {
        fs::write(ca.scratch("some"), format!("{}\n{bad}\n", line("/a", "a.example"))).unwrap();
        let ended = ca.run(&["registrations", "import", "some"]);
        assert_eq!(ended.code, Some(1), "{bad}: {}", ended.err);
        assert!(ca.json(&["registrations", "list"]).as_array().unwrap().is_empty(), "{bad}");
    }
}

#[test]
fn a_certificate_never_outlives_its_registration() {
    let ca = Setup::new().start();
    let soon = countersign_identity::Timestamp::from_unix(
        (std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 600).try_into().unwrap(),
    );
    ca.invite("/brief", &["--until", &soon.to_string()]);
    let machine = Machine::enrolled(&ca, "/brief");
    assert!(machine.response.not_after <= soon.to_string(), "invariant 4: {}", machine.response.not_after);
}

#[test]
fn check_finds_a_sound_ca_sound() {
    let ca = Ca::start();
    ca.run(&["check"]).succeeded();
}

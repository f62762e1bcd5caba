//! Invariant 8: invitations and keys are in no log, no answer, no book, and no file that others may read.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_api::Invitation;
use countersign_testkit::csr;

use crate::{
    ca::{Ca, Setup, id},
    machine::{Machine, enroll},
    program,
};

/// The forms in which 32 secret octets could give themselves away.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
    let list = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    vec![
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        STANDARD.encode(secret).trim_end_matches('=').into(),
        URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        list.into_bytes(),
    ]
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_log_at_trace_level_of_everything_shows_no_secret() {
    for format in ["text", "json"] {
        let mut ca = Setup::new().set("log.level", "trace").set("log.format", format).start();
        let invitation = ca.invite("/payments", &[]);
        let secret = invitation.parse::<Invitation>().unwrap().secret;
        let key = csr::p256();
        let machine = Machine::from(&enroll(&ca, &invitation, &csr::plain(&key)), key);
        machine.renewed(&ca).renewed(&ca);
        // Refusals are logged as well.
        enroll(&ca, &invitation, &csr::plain(&csr::p256())).refused(403, "invitation_used");
        enroll(&ca, &invitation[..invitation.len() - 3], b"").refused(400, "invitation_malformed");
        machine.ask_renewal(&ca).refused(403, "certificate_superseded");
        let unlock = fs::read(ca.state().join("unlock")).unwrap();
        ca.stop();
        let log = ca.log();
        assert!(
            log.contains("DEBUG") && log.contains("invitation_malformed"),
            "the log says too little: {log}"
        );
        let scalar = machine.key.serialize_der();
        // In PKCS#8 of a P-256 key the scalar begins at octet 36.
        let scalar = &scalar[36..68];
        let mut secrets = [forms(&secret), forms(scalar), vec![unlock]].concat();
        secrets.push(invitation.as_bytes()["csinv1_".len()..][..60].to_vec());
        secrets.push(b"correct horse battery".to_vec());
        for secret in secrets {
            assert!(!holds(log.as_bytes(), &secret), "the log holds {:?}", String::from_utf8_lossy(&secret));
        }
    }
}

#[test]
fn the_book_and_the_events_hold_only_the_hash_of_an_invitation() {
    let mut ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let secret = invitation.parse::<Invitation>().unwrap().secret;
    let machine = Machine::from(&enroll(&ca, &invitation, &csr::plain(&csr::p256())), csr::p256());
    assert!(!machine.serial().is_empty());
    let events = ca.json(&["events", "list"]).to_string();
    ca.run(&["backup", "backup.tar"]).succeeded();
    ca.stop();
    let mut places: Vec<(String, Vec<u8>)> = files(&ca.state().join("book"))
        .into_iter()
        .map(|file| (file.display().to_string(), fs::read(file).unwrap()))
        .collect();
    places.push(("events".into(), events.into_bytes()));
    places.push(("backup".into(), fs::read(ca.scratch("backup.tar")).unwrap()));
    for (place, content) in places {
        for form in forms(&secret) {
            assert!(!holds(&content, &form), "{place} holds the invitation's secret");
        }
    }
}

#[test]
fn an_agent_that_logs_everything_shows_no_secret() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let secret = invitation.parse::<Invitation>().unwrap().secret;
    let mut enroll = program::agent();
    enroll
        .env("RUST_LOG", "trace")
        .args(["enroll", "--invitation", &invitation, "--dir"])
        .arg(ca.scratch("m"));
    let first = program::run(&mut enroll);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let config = format!("dir = {:?}\nlog = \"trace\"\n", ca.scratch("m"));
    fs::write(ca.scratch("agent.toml"), config).unwrap();
    let mut run = program::agent();
    let child = run.args(["run", "--config"]).arg(ca.scratch("agent.toml"));
    let child = child.stderr(fs::File::create(ca.scratch("agent.log")).unwrap()).spawn().unwrap();
    let before = fs::read(ca.scratch("m/svid.pem")).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut child = child;
    std::thread::sleep(std::time::Duration::from_millis(300));
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    while fs::read(ca.scratch("m/svid.pem")).unwrap() == before {
        assert!(std::time::Instant::now() < until, "SIGHUP did not renew");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let log = fs::read_to_string(ca.scratch("agent.log")).unwrap();
    let said = [first.out, first.err, log].concat();
    let key = fs::read_to_string(ca.scratch("m/svid.key")).unwrap();
    let key: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    let mut secrets = forms(&secret);
    secrets.push(key[1].as_bytes().to_vec());
    for secret in secrets {
        assert!(!holds(said.as_bytes(), &secret), "the agent says {:?}", String::from_utf8_lossy(&secret));
    }
}

#[test]
fn keys_and_the_socket_are_for_their_owner_alone() {
    let ca = Ca::start();
    ca.enroll_agent("/payments", "m");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&ca.state()), 0o700);
    assert_eq!(mode(&ca.state().join("admin.sock")), 0o600);
    assert_eq!(mode(&ca.state().join("unlock")), 0o600);
    let keys = files(&ca.home())
        .into_iter()
        .filter(|file| fs::read_to_string(file).is_ok_and(|text| text.contains("PRIVATE KEY")));
    let keys: Vec<PathBuf> = keys.collect();
    assert!(keys.len() >= 5, "root, issuer, trust signer, token signer, JWT-SVID signer: {keys:?}");
    for key in keys {
        assert_eq!(mode(&key), 0o600, "{}", key.display());
        let text = fs::read_to_string(&key).unwrap();
        assert!(text.contains("ENCRYPTED PRIVATE KEY"), "{} is in clear", key.display());
    }
    for file in ["m/svid.key", "m/svid-combined.pem"] {
        assert_eq!(mode(&ca.scratch(file)), 0o600, "{file}");
    }
    for file in files(&ca.state().join("book")) {
        assert_eq!(mode(&file) & 0o077, 0, "{}", file.display());
    }
}

#[test]
fn a_problem_document_does_not_repeat_what_was_sent() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let secret = &invitation[10..40];
    let body = format!("{{\"invitation\": \"{invitation}\", \"csr\": 7}}");
    let mut connection = crate::wire::Connection::open(ca.listen(), None).unwrap();
    let answer = connection.ask("POST", "/v1/enroll", Some(("application/json", body.as_bytes()))).unwrap();
    answer.refused(400, "body_malformed");
    assert!(!answer.text().contains(secret), "{}", answer.text());
    let other = ca.run(&["invite", &id("/payments"), "--dns", "not/a/name"]);
    assert!(!other.err.contains("csinv1_"));
}

//! A CA that comes back from a backup, under a fleet that lived on (DESIGN §6).

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_api::trust::{RevokedPart, TrustPayload};
use serde_json::{Value, json};

use crate::{
    ca::{Ca, id},
    machine::Machine,
    program::Ended,
    wire::{self, Connection},
};

const NEWER_POLICY: &str = "version = 1\n\n[service.ledger]\npermissions = [\"read\"]\n";

/// The CA's disk is lost.
pub(crate) fn lose(ca: &mut Ca) {
    ca.kill();
    fs::rename(ca.home(), ca.scratch("lost")).unwrap();
}

pub(crate) fn restore(ca: &Ca, flags: &[&str]) -> Ended {
    ca.run(&[&["restore", "backup.tar", "--dir", "ca", "--passphrase-file", "passphrase"], flags].concat())
}

fn trust(ca: &Ca, reader: &Machine) -> TrustPayload {
    let answer = wire::get(ca.listen(), Some(&reader.papers), "/v1/trust");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn part(ca: &Ca, reader: &Machine, sha256: &str) -> Vec<u8> {
    wire::get(ca.listen(), Some(&reader.papers), &format!("/v1/trust/part/{sha256}")).body
}

fn revoked(ca: &Ca, reader: &Machine) -> BTreeSet<String> {
    let parts = trust(ca, reader).revoked;
    let parts =
        parts.iter().map(|of| serde_json::from_slice::<RevokedPart>(&part(ca, reader, &of.sha256)).unwrap());
    parts.flat_map(|part| part.serials).flat_map(|of| of.entries).map(|(serial, _)| serial).collect()
}

/// The fleet on the day after the backup.
struct Fleet {
    /// Enrolled before, renewed since.
    steady: Machine,
    /// Enrolled before, not heard of since.
    quiet: Machine,
    /// Enrolled since, the second under an issuer made since.
    late: [Machine; 2],
    /// Revoked since.
    revoked: [Machine; 4],
}

/// A backup, and a day in the life of the fleet after it.
fn a_day(ca: &Ca) -> Fleet {
    let [steady, quiet, stolen, gone] =
        ["/steady", "/quiet", "/stolen", "/gone"].map(|path| Machine::enrolled(ca, path));
    ca.invite("/never/came", &[]);
    ca.run(&["backup", "backup.tar"]).succeeded();
    let steady = steady.renewed(ca).renewed(ca);
    let stolen_since = stolen.renewed(ca);
    ca.run(&["revoke", "machine", &stolen.response.machine]).succeeded();
    ca.run(&["revoke", "serial", &gone.serial()]).succeeded();
    let [late, late_stolen] = ["/late", "/late-stolen"].map(|path| Machine::enrolled(ca, path));
    ca.run(&["revoke", "machine", &late_stolen.response.machine]).succeeded();
    ca.run(&["issuer", "rotate", "--passphrase-file", "passphrase"]).succeeded();
    let newest = Machine::enrolled(ca, "/newest");
    fs::write(ca.scratch("newer.toml"), NEWER_POLICY).unwrap();
    ca.run(&["policy", "apply", "newer.toml"]).succeeded();
    ca.run(&["bundle", "export", "trust.json"]).succeeded();
    assert_eq!(trust(ca, &steady).epoch, 1);
    Fleet { steady, quiet, late: [late, newest], revoked: [stolen, stolen_since, gone, late_stolen] }
}

#[test]
fn yesterdays_backup_under_a_live_fleet_never_un_revokes() {
    let mut ca = Ca::start();
    let fleet = a_day(&ca);
    lose(&mut ca);
    let said: Value =
        serde_json::from_str(&restore(&ca, &["--trust", "trust.json", "--json"]).succeeded()).unwrap();
    assert_eq!(
        (&said["epoch"], &said["revoked"], &said["held"]),
        (&json!(2), &json!(4), &json!(2)),
        "{said}"
    );
    assert_eq!(said["invitations_void"], 1);
    ca.start_again();
    // The fleet reads the new epoch before anybody has renewed, and every revocation stands.
    for reader in [&fleet.steady, &fleet.quiet].into_iter().chain(&fleet.late) {
        let after = trust(&ca, reader);
        assert_eq!(after.epoch, 2);
        assert_eq!(part(&ca, reader, &after.policy.sha256), NEWER_POLICY.as_bytes());
    }
    let stand: BTreeSet<_> = fleet.revoked.iter().map(Machine::serial).collect();
    assert_eq!(revoked(&ca, &fleet.steady), stand);
    for machine in &fleet.revoked {
        let refused = wire::get(ca.listen(), Some(&machine.papers), "/v1/trust").status;
        assert!(matches!(refused, 401 | 403), "{refused}");
        let refused = machine.ask_renewal(&ca).status;
        assert!(matches!(refused, 401 | 403), "{refused}");
    }
    let [_, stolen_since, _, late_stolen] = &fleet.revoked;
    stolen_since.ask_renewal(&ca).refused(401, "certificate_revoked");
    late_stolen.ask_renewal(&ca).refused(401, "certificate_revoked");
    // Known lineages go on by themselves, one of them from a certificate that the backup never saw.
    let steady = fleet.steady.renewed(&ca).renewed(&ca);
    fleet.quiet.renewed(&ca);
    // All of it survives a restart, and a rotation keeps the epoch.
    ca.stop();
    ca.start_again();
    ca.run(&["issuer", "rotate", "--passphrase-file", "passphrase"]).succeeded();
    assert_eq!(trust(&ca, &steady).epoch, 2);
    assert_eq!(revoked(&ca, &steady), stand);
    steady.renewed(&ca);
    ca.run(&["check"]).succeeded();
}

#[test]
fn a_lineage_that_a_restored_ca_does_not_know_waits_for_an_operator() {
    let mut ca = Ca::start();
    let fleet = a_day(&ca);
    lose(&mut ca);
    restore(&ca, &["--trust", "trust.json"]).succeeded();
    ca.start_again();
    for machine in fleet.late.iter().chain(&fleet.late) {
        machine.ask_renewal(&ca).refused(403, "machine_held");
    }
    assert_eq!(ca.events("machine.held").len(), 2, "each is written down once");
    let [late, newest] = fleet.late;
    let path = id("/late");
    ca.run(&["machines", "approve", &path]).succeeded();
    late.ask_renewal(&ca).refused(403, "registration_gone");
    ca.run(&["registrations", "set", &path]).succeeded();
    late.renewed(&ca).renewed(&ca);
    newest.ask_renewal(&ca).refused(403, "machine_held");
}

#[test]
fn whoever_waits_for_a_number_of_the_old_epoch_is_told_of_the_new_one() {
    let mut ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    ca.run(&["backup", "backup.tar"]).succeeded();
    ca.run(&["bundle", "export", "trust.json"]).succeeded();
    lose(&mut ca);
    restore(&ca, &["--trust", "trust.json"]).succeeded();
    ca.start_again();
    let mut waiting = Connection::open(ca.listen(), Some(&reader.papers)).unwrap();
    let asked = Instant::now();
    let request = "GET /v1/trust?after=9999 HTTP/1.1\r\nhost: ca\r\nif-none-match: \"1-9999-0\"\r\n\r\n";
    waiting.send(request.as_bytes()).unwrap();
    assert_eq!(waiting.read().unwrap().status, 200);
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn without_a_newer_snapshot_every_machine_waits_for_an_operator() {
    let mut ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.run(&["backup", "backup.tar"]).succeeded();
    lose(&mut ca);
    let said = restore(&ca, &[]).succeeded();
    assert!(said.contains("nobody knows what was revoked"), "{said}");
    ca.start_again();
    machine.ask_renewal(&ca).refused(403, "machine_held");
    ca.run(&["machines", "approve", &machine.response.machine]).succeeded();
    machine.renewed(&ca);
}

#[test]
fn a_restore_that_is_refused_leaves_nothing() {
    let (mut ca, other) = (Ca::start(), Ca::start());
    let machine = Machine::enrolled(&ca, "/payments");
    ca.run(&["bundle", "export", "older.json"]).succeeded();
    ca.run(&["revoke", "serial", &machine.serial()]).succeeded();
    ca.run(&["backup", "backup.tar"]).succeeded();
    other.run(&["bundle", "export", "trust.json"]).succeeded();
    fs::copy(other.scratch("trust.json"), ca.scratch("foreign.json")).unwrap();
    let mut bent: Value = serde_json::from_slice(&fs::read(ca.scratch("older.json")).unwrap()).unwrap();
    let parts = bent["parts"].as_object_mut().unwrap();
    parts.values_mut().for_each(|part| *part = json!("e30="));
    fs::write(ca.scratch("bent.json"), bent.to_string()).unwrap();
    restore(&ca, &[]).failed(1, &["is not empty"]);
    lose(&mut ca);
    restore(&ca, &["--trust", "older.json"]).failed(1, &["is older than the backup"]);
    restore(&ca, &["--trust", "foreign.json"]).failed(1, &["the trust snapshot is refused"]);
    restore(&ca, &["--trust", "bent.json"]).failed(1, &["the trust snapshot is refused"]);
    restore(&ca, &["--trust", "backup.tar"]).failed(1, &["the trust snapshot is refused"]);
    fs::write(ca.scratch("passphrase"), "incorrect horse battery\n").unwrap();
    let said = restore(&ca, &[]).ended(1, &["the root's key in backup.tar does not open", "passphrase"]);
    assert!(!said.contains("/.ca."), "where it was unpacked is gone: {said}");
    let whole = fs::read(ca.scratch("backup.tar")).unwrap();
    for (n, bad) in [&whole[..whole.len() / 2], &whole[..100], b"", b"no tar"].into_iter().enumerate() {
        fs::write(ca.scratch("backup.tar"), bad).unwrap();
        assert_eq!(restore(&ca, &[]).code, Some(1), "{n}");
    }
    assert!(!ca.home().exists());
    let left: Vec<_> =
        fs::read_dir(ca.scratch(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".ca.")), "{left:?}");
}

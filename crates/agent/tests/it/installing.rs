//! The units that `install` writes: as systemd itself judges them.

use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_agent::config::Config;
use countersign_agent::{Installation, install};

fn installed(scratch: &Path, lines: &str) -> Vec<PathBuf> {
    let file = scratch.join("agent.toml");
    let installation = Installation {
        config: Config::parse(&format!("dir = \".\"\n{lines}"), &file).unwrap(),
        config_file: file,
        program: "/usr/bin/true".into(),
        user: Some("daemon".into()),
        to: scratch.to_owned(),
    };
    install(&installation).unwrap()
}

/// The exposure that `systemd-analyze security` finds, in tenths: 0 is none. `None` where there is no systemd.
fn exposure(unit: &Path) -> Option<u32> {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("Overall exposure level"))?.to_owned();
    let number = line.split_once(": ")?.1.split(' ').next()?.replace('.', "");
    number.parse().ok()
}

const SOCKET: &str = "[workload_api]\nsocket = \"/run/countersign/agent.sock\"\n";

#[test]
fn the_units_are_as_closed_as_their_work_allows() {
    let scratch = tempfile::tempdir().unwrap();
    let files_only = installed(scratch.path(), "");
    assert_eq!(files_only.len(), 1);
    let Some(found) = exposure(&files_only[0]) else {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    };
    assert!(found <= 20, "files only: {found} tenths");
    let attesting = installed(scratch.path(), SOCKET);
    let found = exposure(&attesting[0]).unwrap();
    assert!(found <= 40, "with attestation: {found} tenths");
}

#[test]
fn the_secret_of_workloads_keys_is_a_credential_where_there_is_one() {
    let scratch = tempfile::tempdir().unwrap();
    let units = installed(scratch.path(), SOCKET);
    let text = std::fs::read_to_string(&units[0]).unwrap();
    // By its name alone, so that systemd looks into its stores and starts the unit without one (systemd.exec(5)).
    assert!(text.contains("\nLoadCredentialEncrypted=countersign-agent.unlock\n"), "{text}");
    is_understood(&units);
    let files_only = std::fs::read_to_string(&installed(scratch.path(), "")[0]).unwrap();
    assert!(!files_only.contains("LoadCredential"), "{files_only}");
}

/// As far as there is a systemd here.
fn is_understood(units: &[PathBuf]) {
    if let Ok(output) = Command::new("systemd-analyze").arg("verify").args(units).output() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<_> = words.lines().filter(|line| line.contains("countersign-agent")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
}

#[test]
fn what_the_agent_writes_is_writable_in_its_unit() {
    let scratch = tempfile::tempdir().unwrap();
    let units = installed(scratch.path(), "metrics = \"/var/lib/node exporter/countersign.prom\"\n");
    let text = std::fs::read_to_string(&units[0]).unwrap();
    let line = text.lines().find(|line| line.starts_with("ReadWritePaths=")).unwrap();
    assert!(line.ends_with(" \"/var/lib/node exporter\""), "{line}");
}

#[test]
fn a_reload_hook_has_a_unit_of_its_own_that_a_new_certificate_starts() {
    let scratch = tempfile::tempdir().unwrap();
    let units = installed(scratch.path(), "reload = [\"/usr/bin/env\", \"true\"]\n");
    let text: Vec<_> = units.iter().map(|unit| std::fs::read_to_string(unit).unwrap()).collect();
    assert_eq!(text.len(), 3);
    assert!(text[1].contains("PathChanged=") && text[1].contains("/current\n"), "{}", text[1]);
    assert!(text[2].contains("ExecStart=/usr/bin/env true\n"), "{}", text[2]);
    is_understood(&units);
}

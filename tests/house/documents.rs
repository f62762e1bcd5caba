//! Files that people read and edit, held against the program.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use countersign::config::Config;
use countersign_api::ProblemCode;
use countersign_identity::Timestamp;
use countersign_issuance::Profile;
use countersign_policy::Policy;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_file_an_operator_edits_loads() {
    let home = root().join("ca-config");
    let mut loaded = 0;
    for file in files(&home) {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&home).unwrap().to_str().unwrap();
        match name {
            "countersign.toml" => {
                Config::parse(&text, &file).unwrap();
            }
            "policy.toml" => {
                let policy = Policy::parse(&text, name).unwrap();
                assert!(policy.run_tests(Timestamp::from_unix(1_795_435_200)).is_empty());
            }
            "README.md" => continue,
            _ => {
                let profile = name.strip_prefix("profiles/").and_then(|name| name.strip_suffix(".toml"));
                let profile = profile.unwrap_or_else(|| panic!("{name}: no test loads this file"));
                Profile::parse(profile, &text).unwrap();
            }
        }
        loaded += 1;
    }
    assert!(loaded >= 5, "{loaded}");
}

/// Every default that is written in the example is the default of the program.
#[test]
fn the_example_configuration_says_the_defaults() {
    let path = root().join("ca-config/countersign.toml");
    let example = Config::load(&path).unwrap();
    let bare = Config::parse("trust_domain = \"prod.example\"", &path).unwrap();
    assert_eq!(format!("{example:?}"), format!("{bare:?}"));
}

/// The front desk answers a refusal from below by its code; one that is not on the wire would be answered as a fault.
#[test]
fn every_code_the_rooms_below_say_is_on_the_wire() {
    // Said to nobody over the CA's wire: a secret drawn twice, a root act, other services and their limits, machines.
    let elsewhere = [
        "invitation_exists",
        "roots_out_of_order",
        "peer_not_allowed",
        "trust_stale",
        "server_not_pinned",
        "certificate_lifetime",
        "certificate_key_kind",
        "key_exchange_not_hybrid",
    ];
    for file in [
        "crates/issuance/src/csr.rs",
        "crates/issuance/src/denial.rs",
        "crates/issuance/src/ledger.rs",
        "crates/store/src/error.rs",
        "crates/verifier/src/refusal.rs",
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let body = text.split("fn code(").nth(1).and_then(|rest| rest.split("\n    }\n").next()).unwrap();
        let codes: Vec<&str> = body.split('"').skip(1).step_by(2).collect();
        assert!(codes.len() > 3, "{file}: {codes:?}");
        for code in codes.iter().filter(|code| !elsewhere.contains(code)) {
            assert!(ProblemCode::from_text(code).is_some(), "{file}: {code:?} is no problem code");
        }
    }
}

/// A row of the threat model whose test is gone protects nobody.
#[test]
fn every_test_the_threat_model_names_is_there() {
    let text = fs::read_to_string(root().join("docs/THREAT-MODEL.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() >= 4);
    let named: BTreeSet<&str> = rows
        .filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| {
            name.len() > 12 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let rooms = ["src", "crates", "tests", "benches"].map(|room| root().join(room));
    let sources =
        rooms.iter().flat_map(|room| files(room)).filter(|file| file.extension().is_some_and(|e| e == "rs"));
    let mut there = String::new();
    for file in sources {
        there.push_str(&fs::read_to_string(file).unwrap());
    }
    let gone: Vec<_> = named.iter().filter(|name| !there.contains(&format!("fn {name}"))).collect();
    assert!(gone.is_empty(), "the threat model names tests that are not there: {gone:#?}");
}

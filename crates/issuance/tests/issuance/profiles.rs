//! The profiles that operators are given

use std::path::Path;
use std::time::Duration;

use countersign_issuance::{KeyKind, OnClone, Profile};

fn shipped(name: &str) -> Profile {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ca-config/profiles").join(format!("{name}.toml"));
    Profile::parse(name, &std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn every_profile_that_is_shipped_loads() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ca-config/profiles");
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["gateway", "operator", "workload"], "each is looked at below");
}

#[test]
fn the_workload_profile_is_the_default_spelled_out() {
    let defaults = Profile::parse("workload", "lifetime = \"1h\"").unwrap();
    assert_eq!(shipped("workload"), defaults);
}

#[test]
fn the_gateway_profile_lives_a_day_and_takes_p384() {
    let profile = shipped("gateway");
    assert_eq!(profile.lifetime(), Duration::from_secs(86_400));
    assert_eq!(profile.key_kinds(), [KeyKind::P256, KeyKind::P384]);
    assert_eq!(profile.on_clone(), OnClone::Hold);
    assert!(profile.approve_recovery());
}

#[test]
fn the_operator_profile_lives_a_working_day_and_never_recovers_by_itself() {
    let profile = shipped("operator");
    assert_eq!(profile.lifetime(), Duration::from_secs(8 * 3_600));
    assert_eq!(profile.recovery(), Duration::ZERO);
    assert_eq!(profile.on_clone(), OnClone::Suspend);
}

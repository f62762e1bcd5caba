//! Renewal over mutual TLS.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::status::{State, Status};
use countersign_agent::{Dir, EnrollOptions, ErrorKind, Identity, RenewOptions, enroll, renew};
use countersign_api::ProblemCode;
use countersign_identity::{Clock as _, ManualClock};
use countersign_testkit::noon_clock;
use tempfile::TempDir;

use crate::ca::{Ca, certified_key_of, ok, problem, public_key_of};

struct Enrolled {
    ca: Arc<Ca>,
    scratch: TempDir,
    dir: Dir,
    clock: Arc<ManualClock>,
    first: Identity,
}

impl Enrolled {
    async fn new() -> Self {
        let clock = noon_clock();
        let ca = Ca::start(clock.clone()).await;
        let scratch = tempfile::tempdir().unwrap();
        let options = EnrollOptions::new(ca.invitation(1), scratch.path()).clock(clock.clone());
        let first = enroll(&options).await.unwrap();
        let dir = Dir::at(scratch.path());
        Self { ca, scratch, dir, clock, first }
    }

    fn options(&self) -> RenewOptions {
        RenewOptions::default().clock(self.clock.clone())
    }
}

#[tokio::test]
async fn a_renewal_has_a_new_key_and_is_proven_by_the_old_certificate() {
    // Invariant 5.
    let machine = Enrolled::new().await;
    let old_key = public_key_of(&machine.scratch.path().join("svid.key"));
    machine.clock.advance(Duration::from_secs(1500));
    let next = renew(&machine.dir, &machine.options()).await.unwrap();
    assert_eq!(machine.ca.asked()[1].presented, Some(machine.first.serial().to_string()));
    let new_key = public_key_of(&machine.scratch.path().join("svid.key"));
    assert_ne!(new_key, old_key);
    assert_eq!(new_key, certified_key_of(&machine.scratch.path().join("svid.pem")));
    assert!(next.validity().not_after() > machine.first.validity().not_after());
}

#[tokio::test]
async fn the_generation_before_stays_and_older_ones_go() {
    let machine = Enrolled::new().await;
    for _ in 0..3 {
        renew(&machine.dir, &machine.options()).await.unwrap();
    }
    let mut left: Vec<_> = fs::read_dir(machine.scratch.path().join("generations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left.len(), 2);
    assert!(left[0].starts_with("3-") && left[1].starts_with("4-"), "{left:?}");
}

#[tokio::test]
async fn a_renewal_cannot_change_who_the_machine_is() {
    let machine = Enrolled::new().await;
    machine.ca.behave(|ca, asked| Some(ok(&ca.answer("spiffe://prod.example/reporting", &asked.spki))));
    let error = renew(&machine.dir, &machine.options()).await.unwrap_err();
    assert!(error.to_string().contains("it names spiffe://prod.example/reporting, expected"), "{error}");
    assert_eq!(machine.dir.identity().unwrap().unwrap(), machine.first);
}

#[tokio::test]
async fn a_failed_renewal_keeps_its_key_for_the_next_try() {
    let machine = Enrolled::new().await;
    machine.ca.behave(|_, _| Some(problem(503, ProblemCode::StoreReadOnly)));
    let error = renew(&machine.dir, &machine.options()).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    machine.ca.behave_well();
    renew(&machine.dir, &machine.options()).await.unwrap();
    let asked = machine.ca.asked();
    assert_eq!(asked[1].spki, asked[2].spki);
}

#[tokio::test]
async fn a_key_the_ca_will_never_take_is_forgotten() {
    let machine = Enrolled::new().await;
    machine.ca.behave(|_, _| Some(problem(409, ProblemCode::KeyInUse)));
    renew(&machine.dir, &machine.options()).await.unwrap_err();
    machine.ca.behave_well();
    renew(&machine.dir, &machine.options()).await.unwrap();
    let asked = machine.ca.asked();
    assert_ne!(asked[1].spki, asked[2].spki);
}

#[tokio::test]
async fn a_suspended_machine_is_refused_for_good() {
    let machine = Enrolled::new().await;
    machine.ca.behave(|_, _| Some(problem(403, ProblemCode::MachineSuspended)));
    let error = renew(&machine.dir, &machine.options()).await.unwrap_err();
    assert!(error.is_lasting());
    assert_eq!(error.exit_code(), 1);
    let last = machine.dir.record().unwrap().last_attempt.unwrap();
    assert!(last.error.unwrap().contains("machine_suspended"));
}

#[tokio::test]
async fn a_directory_without_identity_is_not_even_made() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = Dir::at(scratch.path().join("nothing"));
    let error = renew(&dir, &RenewOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.hint().unwrap().contains("enroll"));
    assert!(!dir.path().exists());
}

#[tokio::test]
async fn the_status_tells_how_long_the_ca_may_be_away() {
    let machine = Enrolled::new().await;
    let read = || Status::read(&machine.dir, machine.clock.now()).unwrap();
    machine.clock.advance(Duration::from_secs(18 * 60));
    let text = read().lines().join("\n");
    assert!(text.contains("valid until 2026-11-23T12:59:59Z (in 41 min)"), "{text}");
    assert!(text.contains("the CA may be away 29 min before expiry"), "{text}");
    assert!(text.contains("last attempt  enroll done"), "{text}");
    let json = serde_json::to_value(read()).unwrap();
    assert_eq!(json["state"], "valid");
    assert_eq!(json["spiffe_id"], "spiffe://prod.example/payments");
    assert_eq!(json["expires_in_seconds"], 41 * 60 + 59);
    assert_eq!(json["outage_budget_seconds"], 1799);
    machine.clock.advance(Duration::from_secs(3600));
    assert_eq!(read().state, State::Expired);
    assert!(read().lines().join("\n").contains("EXPIRED"));
    let nowhere = Status::read(&Dir::at("/nonexistent"), machine.clock.now()).unwrap();
    assert_eq!(nowhere.state, State::Missing);
    assert_eq!(serde_json::to_value(nowhere).unwrap()["state"], "missing");
}

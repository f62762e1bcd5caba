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

#[tokio::test]
async fn a_refusal_for_good_comes_first_in_the_status_and_leaves_no_budget() {
    let machine = Enrolled::new().await;
    machine.ca.behave(|_, _| Some(problem(403, ProblemCode::MachineSuspended)));
    renew(&machine.dir, &machine.options()).await.unwrap_err();
    // The CA is away the next time: nothing was taken back.
    machine.ca.behave(|_, _| Some(problem(503, ProblemCode::StoreReadOnly)));
    renew(&machine.dir, &machine.options()).await.unwrap_err();
    let read = || Status::read(&machine.dir, machine.clock.now()).unwrap();
    assert_eq!(read().state, State::Refused);
    let lines = read().lines();
    assert!(lines[0].starts_with("REFUSED ") && lines[1].contains("machine_suspended"), "{lines:?}");
    assert!(!lines.join("\n").contains("may be away"), "{lines:?}");
    let json = serde_json::to_value(read()).unwrap();
    assert_eq!((&json["state"], &json["outage_budget_seconds"]), (&"refused".into(), &0.into()));
    machine.ca.behave_well();
    renew(&machine.dir, &machine.options()).await.unwrap();
    assert_eq!(read().state, State::Valid);
}

#[tokio::test]
async fn a_damaged_or_foreign_key_is_no_valid_identity() {
    let machine = Enrolled::new().await;
    let key = machine.first.home().join("svid.key");
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for content in ["not a key", &other] {
        fs::write(&key, content).unwrap();
        let status = Status::read(&machine.dir, machine.clock.now()).unwrap();
        assert_eq!(status.state, State::Damaged);
        let text = status.lines().join("\n");
        assert!(text.starts_with("DAMAGED ") && text.contains("--replace"), "{text}");
        assert!(!text.contains("may be away"), "{text}");
        let options = EnrollOptions::new(machine.ca.invitation(1), machine.scratch.path());
        let error = enroll(&options.clock(machine.clock.clone())).await.unwrap_err();
        assert!(error.to_string().contains("redeemed here already"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_link_is_told_and_put_back() {
    let machine = Enrolled::new().await;
    let second = renew(&machine.dir, &machine.options()).await.unwrap();
    let link = machine.scratch.path().join("current");
    let lose = || fs::remove_file(&link).unwrap();
    lose();
    let status = Status::read(&machine.dir, machine.clock.now()).unwrap();
    assert_eq!(status.state, State::Unlinked);
    let text = status.lines().join("\n");
    let name = second.home().file_name().unwrap().to_string_lossy();
    assert!(
        text.contains("the link current is missing; its newest generation is") && text.contains(&*name),
        "{text}"
    );
    machine.ca.behave(|_, _| Some(problem(503, ProblemCode::StoreReadOnly)));
    renew(&machine.dir, &machine.options()).await.unwrap_err();
    assert_eq!(machine.dir.identity().unwrap().unwrap(), second, "put back although the CA is away");
    lose();
    let options = EnrollOptions::new(machine.ca.invitation(1), machine.scratch.path());
    assert_eq!(enroll(&options.clock(machine.clock.clone())).await.unwrap(), second);
    lose();
    fs::write(second.home().join("svid.key"), "not a key").unwrap();
    renew(&machine.dir, &machine.options()).await.unwrap_err();
    assert_eq!(machine.dir.identity().unwrap().unwrap(), machine.first, "the newest whole one counts");
}

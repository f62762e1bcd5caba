//! The long-running agent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::config::Config;
use countersign_agent::run::{Agent, Order};
use countersign_agent::schedule::{State, TICK};
use countersign_agent::{Dir, EnrollOptions, Reload, RenewOptions, TokenWish, enroll, renew, token};
use countersign_api::{ProblemCode, RenewalWindow};
use countersign_identity::Clock as _;
use countersign_testkit::noon_clock;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;

use crate::ca::{CA_ID, Ca, problem};

type Running = (Sender<Order>, JoinHandle<Result<(), countersign_agent::AgentError>>);

fn start(config: Config, clock: Arc<countersign_identity::ManualClock>) -> Running {
    let (orders, receiver) = mpsc::channel(1);
    (orders, tokio::spawn(async move { Agent::new(config, clock).run(receiver).await }))
}

pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 30 s");
}

async fn enrolled(ca: &Ca, dir: &Path) {
    enroll(&EnrollOptions::new(ca.invitation(1), dir).clock(noon_clock())).await.unwrap();
}

#[tokio::test]
async fn an_order_to_renew_is_followed_and_the_service_is_told() {
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    let told = scratch.path().join("told");
    let reload = ["sh", "-c", &format!("echo x >> {}", told.display())].map(str::to_owned);
    let config = Config { reload: Some(Reload::Command(reload.to_vec())), ..Config::for_dir(scratch.path()) };
    let (orders, agent) = start(config, noon_clock());
    let times = || std::fs::read_to_string(&told).map_or(0, |text| text.lines().count());
    eventually("the certificate found at the start is taken up", || times() == 1).await;
    orders.send(Order::RenewNow).await.unwrap();
    eventually("renewed", || ca.issued() == 2).await;
    eventually("reloaded", || times() == 2).await;
    orders.send(Order::Stop).await.unwrap();
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_late_certificate_is_renewed_at_once_and_a_refusal_makes_no_tight_loop() {
    // Invariant 10.
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    ca.behave(|_, _| Some(problem(403, ProblemCode::MachineSuspended)));
    let clock = noon_clock();
    clock.advance(Duration::from_secs(3590));
    let (orders, agent) = start(Config::for_dir(scratch.path()), clock.clone());
    eventually("tried", || ca.asked().len() == 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ca.asked().len(), 2, "a refusal for good is tried again slowly");
    drop(orders);
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_expired_certificate_comes_back_by_recovery_with_a_new_key() {
    let clock = noon_clock();
    let ca = Ca::start_for(clock.clone(), CA_ID, Duration::from_secs(86_400)).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    let dir = Dir::at(scratch.path());
    let before = dir.identity().unwrap().unwrap();
    clock.advance(Duration::from_secs(2 * 3600));
    let (orders, agent) = start(Config::for_dir(scratch.path()), clock.clone());
    let is_fresh = || dir.record().unwrap().plan.is_some_and(|plan| plan.state == State::Fresh);
    // The start is late, by up to five seconds of a clock that stands still here.
    passing(&clock, "recovered", is_fresh).await;
    orders.send(Order::Stop).await.unwrap();
    agent.await.unwrap().unwrap();
    let asked = ca.asked();
    assert_eq!(asked[1].path, "/v1/recover");
    assert_ne!(asked[1].spki, asked[0].spki);
    assert_eq!(dir.identity().unwrap().unwrap().spiffe_id(), before.spiffe_id());
}

#[tokio::test]
async fn a_recovery_that_is_refused_is_tried_again_slowly() {
    let clock = noon_clock();
    let ca = Ca::start_for(clock.clone(), CA_ID, Duration::from_secs(86_400)).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    ca.behave(|_, _| Some(problem(403, ProblemCode::CertificateExpired)));
    clock.advance(Duration::from_secs(2 * 3600));
    let (orders, agent) = start(Config::for_dir(scratch.path()), clock.clone());
    let dir = Dir::at(scratch.path());
    let is_refused = || dir.record().unwrap().plan.is_some_and(|plan| plan.state == State::Refused);
    passing(&clock, "refused", is_refused).await;
    let asked = ca.asked().len();
    assert_eq!(asked, 3, "once to enroll, and twice to recover: clocks may differ");
    let before = clock.now();
    passing(&clock, "a minute", || clock.now().since(before) >= Duration::from_secs(60)).await;
    assert_eq!(ca.asked().len(), asked, "the next attempt is minutes away");
    drop(orders);
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_window_that_the_ca_pulls_to_now_is_followed() {
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    // The window that came with the certificate begins at twenty past.
    let now = noon_clock().now() + Duration::from_secs(60);
    *ca.window.lock().unwrap() = Some(RenewalWindow {
        workloads: Vec::new(),
        renew_after: now.to_string(),
        renew_before: now.to_string(),
        reason: Some("the issuer is rotated".into()),
        ask_again: 60,
        server_time: now.to_string(),
    });
    let clock = noon_clock();
    let dir = Dir::at(scratch.path());
    let (orders, agent) = start(Config::for_dir(scratch.path()), clock.clone());
    eventually("kept", || dir.record().unwrap().plan.is_some()).await;
    clock.advance(Duration::from_secs(7 * 60));
    passing(&clock, "renewed", || ca.issued() == 2).await;
    assert!(ca.asked().iter().any(|asked| asked.path == "/v1/renewal"));
    assert!(
        clock.now() < noon_clock().now() + Duration::from_secs(20 * 60),
        "before the window it came with"
    );
    orders.send(Order::Stop).await.unwrap();
    agent.await.unwrap().unwrap();
}

/// Lets time pass on the machine's clock, a few seconds at a time, until something holds; whoever sleeps wakes up to
/// see it.
pub(crate) async fn passing(clock: &countersign_identity::ManualClock, what: &str, holds: impl Fn() -> bool) {
    for _ in 0..40 {
        // What is under way has its time.
        for _ in 0..25 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        clock.advance(Duration::from_secs(5));
        tokio::time::pause();
        tokio::time::advance(TICK).await;
        tokio::time::resume();
    }
    panic!("{what}: not within 200 s of the clock");
}

#[tokio::test]
async fn of_several_addresses_one_that_answers_is_enough() {
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    let addresses = ["https://127.0.0.1:1".parse().unwrap(), ca.url().parse().unwrap()];
    let options = RenewOptions::default().addresses(&addresses).clock(noon_clock());
    let identity = renew(&Dir::at(scratch.path()), &options).await.unwrap();
    assert_eq!(identity.url().to_string(), ca.url());
    let nobody = RenewOptions::default().addresses(&addresses[..1]).clock(noon_clock());
    let error = renew(&Dir::at(scratch.path()), &nobody).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn a_token_whose_ca_is_away_is_no_matter_of_a_key() {
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    let (away, wish) = (["https://127.0.0.1:1".parse().unwrap()], TokenWish::default());
    let error = token(&Dir::at(scratch.path()), &away, &wish, noon_clock()).await.unwrap_err();
    assert_eq!((error.exit_code(), error.hint()), (3, Some("run the same command again later")));
}

#[tokio::test]
async fn an_impostor_at_one_address_blocks_none_of_the_others() {
    let (ca, impostor) = (Ca::start(noon_clock()).await, Ca::start(noon_clock()).await);
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    let dir = Dir::at(scratch.path());
    impostor.behave(|_, _| Some((418, "\u{1b}[2J".into())));
    let nobody = "https://127.0.0.1:1".parse().unwrap();
    let addresses = [impostor.url().parse().unwrap(), nobody, ca.url().parse().unwrap()];
    let options = |addresses| RenewOptions::default().addresses(addresses).clock(noon_clock());
    let identity = renew(&dir, &options(&addresses)).await.unwrap();
    assert_eq!(identity.url().to_string(), ca.url());
    assert!(impostor.asked().is_empty(), "roots documents excepted");
    let error = renew(&dir, &options(&addresses[..2])).await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    let told = error.to_string();
    assert!(
        told.contains("is not the CA") && told.contains("418") && !told.contains(char::is_control),
        "{told}"
    );
    ca.behave(|_, _| Some(problem(403, ProblemCode::MachineSuspended)));
    let error = renew(&dir, &options(&addresses)).await.unwrap_err();
    assert_eq!(error.code(), Some(ProblemCode::MachineSuspended), "the CA's own word ends the round");
}

#[tokio::test]
async fn a_second_agent_of_the_same_directory_is_refused() {
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    let (orders, agent) = start(Config::for_dir(scratch.path()), noon_clock());
    eventually("started", || scratch.path().join(".run.lock").exists()).await;
    let (_other, second) = start(Config::for_dir(scratch.path()), noon_clock());
    let error = second.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("another `countersign-agent run`"), "{error}");
    orders.send(Order::Stop).await.unwrap();
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_missing_link_is_put_back_at_the_start() {
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    enrolled(&ca, scratch.path()).await;
    let link = scratch.path().join("current");
    std::fs::remove_file(&link).unwrap();
    let (orders, agent) = start(Config::for_dir(scratch.path()), noon_clock());
    eventually("put back", || link.exists()).await;
    orders.send(Order::Stop).await.unwrap();
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_agent_without_identity_says_so_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let (_orders, agent) = start(Config::for_dir(scratch.path()), noon_clock());
    let error = agent.await.unwrap().unwrap_err();
    assert!(error.hint().unwrap().contains("enroll first"));
    assert!(Dir::at(scratch.path()).identity().unwrap().is_none());
}

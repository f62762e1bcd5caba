//! The long-running agent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::config::Config;
use countersign_agent::run::{Agent, Order};
use countersign_agent::{Dir, EnrollOptions, enroll};
use countersign_api::ProblemCode;
use countersign_testkit::noon_clock;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;

use crate::ca::{Ca, problem};

type Running = (Sender<Order>, JoinHandle<Result<(), countersign_agent::AgentError>>);

fn start(config: Config, clock: Arc<countersign_identity::ManualClock>) -> Running {
    let (orders, receiver) = mpsc::channel(1);
    (orders, tokio::spawn(async move { Agent::new(config, clock).run(receiver).await }))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 10 s");
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
    let config = Config { reload: reload.to_vec(), ..Config::for_dir(scratch.path()) };
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

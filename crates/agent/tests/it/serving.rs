//! Services that take up what is published: whether they do is looked at and told to the CA; files are for whom they are for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::config::Config;
use countersign_agent::run::{Agent, Order};
use countersign_agent::{Dir, EnrollOptions, enroll};
use countersign_verifier::{OwnIdentity, PeerRule, ServerBuilder, SystemClock, TrustStore, bundle_from_pem};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::ca::{Ca, TD};
use crate::keeping::eventually;

/// A service that reads its certificate anew for each connection once `fresh` says so; before, it keeps to the first.
async fn serve(listener: TcpListener, dir: std::path::PathBuf, takes_up: bool) {
    let load = || OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key")).unwrap();
    let first = load();
    let bundle = bundle_from_pem(TD.parse().unwrap(), &fs::read(dir.join("bundle.pem")).unwrap()).unwrap();
    let trust = Arc::new(TrustStore::new([bundle]).unwrap());
    while let Ok((tcp, _)) = listener.accept().await {
        let own = if takes_up { load() } else { Arc::clone(&first) };
        let rule = PeerRule::matching([format!("spiffe://{TD}/**").parse().unwrap()]);
        let acceptor = ServerBuilder::new(own, Arc::clone(&trust)).admit(rule).build().unwrap();
        let _ = acceptor.accept(tcp).await;
    }
}

/// An agent with these lines of configuration, told to renew once; it ends with the test's runtime.
async fn renewed_once(ca: &Ca, scratch: &Path, lines: &str) -> mpsc::Sender<Order> {
    let text = format!("dir = \".\"\n{lines}\n");
    let config = Config::parse(&text, &scratch.join("agent.toml")).unwrap();
    let (orders, receiver) = mpsc::channel(1);
    tokio::spawn(async move { Agent::new(config, Arc::new(SystemClock)).run(receiver).await });
    orders.send(Order::RenewNow).await.unwrap();
    eventually("renewed", || ca.issued() == 2).await;
    orders
}

async fn enrolled() -> (Arc<Ca>, tempfile::TempDir) {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    enroll(&EnrollOptions::new(ca.invitation(1), scratch.path())).await.unwrap();
    (ca, scratch)
}

#[tokio::test]
async fn a_certificate_that_is_served_is_told_to_the_ca() {
    let (ca, scratch) = enrolled().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, scratch.path().to_owned(), true));
    let lines = format!("reload = [\"true\"]\nserved_at = {address:?}");
    let _orders = renewed_once(&ca, scratch.path(), &lines).await;
    let serial = || Dir::at(scratch.path()).identity().unwrap().unwrap().serial().to_string();
    eventually("told", || {
        ca.asked().iter().any(|asked| asked.path == "/v1/deployed" && asked.body["serial"] == serial())
    })
    .await;
    let asked = ca.asked();
    let told = asked.iter().rfind(|asked| asked.path == "/v1/deployed").unwrap();
    assert_eq!(told.body["address"], address);
    assert_eq!(told.presented.as_deref(), Some(serial().as_str()));
}

#[tokio::test]
async fn a_certificate_that_the_service_does_not_take_up_is_not_told_as_served() {
    let (ca, scratch) = enrolled().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, scratch.path().to_owned(), false));
    let lines = format!("reload = [\"true\"]\nserved_at = {address:?}");
    let _orders = renewed_once(&ca, scratch.path(), &lines).await;
    let second = Dir::at(scratch.path()).identity().unwrap().unwrap().serial().to_string();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = |asked: &crate::ca::Asked| asked.path == "/v1/deployed" && asked.body["serial"] == second;
    assert!(!ca.asked().iter().any(told));
}

#[tokio::test]
async fn files_are_for_whom_the_configuration_says_from_the_next_certificate_on() {
    let (ca, scratch) = enrolled().await;
    let mode = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("svid.key"), mode("svid.pem"), mode("current")), (0o600, 0o644, 0o700));
    let lines = "[files.\"svid.key\"]\nmode = \"0640\"\ngroup = 0";
    let gid = rustix::process::getegid().as_raw();
    let lines = lines.replace("group = 0", &format!("group = {gid}"));
    let _orders = renewed_once(&ca, scratch.path(), &lines).await;
    eventually("published", || mode("svid.key") == 0o640).await;
    assert_eq!((mode("svid-combined.pem"), mode("svid.pem"), mode("current")), (0o600, 0o644, 0o711));
}

#[tokio::test]
async fn metrics_are_a_file_that_a_collector_reads() {
    let (ca, scratch) = enrolled().await;
    let _orders = renewed_once(&ca, scratch.path(), "metrics = \"agent.prom\"").await;
    let text = || fs::read_to_string(scratch.path().join("agent.prom")).unwrap_or_default();
    eventually("counted", || text().contains("\ncountersign_agent_renewals_total 1\n")).await;
    let end = Dir::at(scratch.path()).identity().unwrap().unwrap().validity().not_after().unix();
    let expected =
        format!("countersign_agent_not_after_seconds{{spiffe_id=\"{}\"}} {end}\n", crate::ca::PAYMENTS);
    assert!(text().contains(&expected), "{}", text());
    assert!(text().contains("countersign_agent_state{state=\"fresh\"} 1\n"));
}

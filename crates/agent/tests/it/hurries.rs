//! An operator is in a hurry about a workload: its machine hears of it, and renews it.

use std::sync::Arc;
use std::time::Duration;

use countersign_api::{RenewalWindow, WorkloadWindow};
use countersign_identity::Clock as _;
use countersign_testkit::noon_clock;

use crate::ca::Ca;
use crate::keeping::passing;
use crate::socket::{API, Machine, uid};

const OTHER: &str = "spiffe://prod.example/other";

fn asked(ca: &Ca, id: &str) -> usize {
    ca.asked().iter().filter(|asked| asked.path == "/v1/workload" && asked.body["spiffe_id"] == id).count()
}

#[tokio::test]
async fn a_workload_whose_window_the_ca_pulls_to_now_is_renewed_once_and_no_other() {
    let clock = noon_clock();
    let machine = Machine::start_by(clock.clone(), "").await;
    let ca = Arc::clone(&machine.ca);
    ca.register(&[(API, &[&uid()]), (OTHER, &[&uid()])]);
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    while stream.message().await.unwrap().unwrap().svids.len() < 2 {}
    let noon = clock.now();
    let after = |minutes: u64| (noon + Duration::from_secs(60 * minutes)).to_string();
    *ca.window.lock().unwrap() = Some(RenewalWindow {
        renew_after: after(20),
        renew_before: after(30),
        reason: None,
        workloads: vec![WorkloadWindow {
            spiffe_id: API.into(),
            renew_after: after(1),
            renew_before: after(1),
            reason: "a leaked key".into(),
        }],
        ask_again: 60,
        server_time: after(0),
    });
    clock.advance(Duration::from_secs(7 * 60));
    passing(&clock, "renewed", || asked(&ca, API) == 2).await;
    assert!(clock.now() < noon + Duration::from_secs(15 * 60), "before the window it came with");
    // The CA of this test tells it again and again; what was renewed is not meant.
    let questions = || ca.asked().iter().filter(|asked| asked.path == "/v1/renewal").count();
    let before = questions();
    passing(&clock, "told again", || questions() > before).await;
    assert_eq!((asked(&ca, API), asked(&ca, OTHER)), (2, 1));
}

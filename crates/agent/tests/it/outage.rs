//! The CA is away: what is held is served, and once it is back the identities that end first are renewed first.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_agent::run::Order;

use crate::ca::{Asked, Ca, ok};
use crate::keeping::eventually;
use crate::socket::{Machine, uid};

/// More than are issued at a time, so that there is a line.
const COUNT: usize = 12;
/// How many are at the CA at once: so far may one overtake another.
const AT_A_TIME: usize = 4;

fn id(n: usize) -> String {
    format!("spiffe://prod.example/work/{n}")
}

/// The workloads by the end of their first certificates: not in the order of their names.
fn life(n: usize) -> Duration {
    Duration::from_secs(3600 * u64::try_from(1 + n * 5 % COUNT).unwrap())
}

fn number(asked: &Asked) -> usize {
    asked.body["spiffe_id"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()
}

fn present(ca: &Ca) {
    ca.behave(|ca, asked| {
        let answer = || ok(&ca.answer_of(life(number(asked)), &id(number(asked)), &asked.spki));
        (asked.path == "/v1/workload").then(answer)
    });
}

fn asked(ca: &Ca) -> Vec<usize> {
    ca.asked().iter().filter(|asked| asked.path == "/v1/workload").map(number).collect()
}

#[tokio::test]
async fn after_an_outage_the_identities_that_end_first_are_renewed_first() {
    let machine = Machine::start("").await;
    let ca = &machine.ca;
    present(ca);
    let (ids, uid) = ((0..COUNT).map(id).collect::<Vec<_>>(), uid());
    let selectors = [uid.as_str()];
    let registered: Vec<(&str, &[&str])> = ids.iter().map(|id| (id.as_str(), &selectors[..])).collect();
    ca.register(&registered);
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    while stream.message().await.unwrap().unwrap().svids.len() < COUNT {}
    assert_eq!(asked(ca).len(), COUNT, "each is issued once");

    ca.behave(|_, asked| (asked.path == "/v1/workload").then(|| (502, String::new())));
    machine.orders.send(Order::RenewNow).await.unwrap();
    eventually("asked", || asked(ca)[COUNT..].iter().collect::<BTreeSet<_>>().len() == COUNT).await;
    let mut other = machine.client().await.x509_svids().await.unwrap();
    assert_eq!(other.message().await.unwrap().unwrap().svids.len(), COUNT, "what is held is served");

    // Retries are far apart by now: one of them finds the CA back and calls the others, a second later.
    tokio::time::sleep(Duration::from_secs(16)).await;
    let before = asked(ca).len();
    present(ca);
    eventually("asked", || asked(ca).len() >= before + COUNT).await;
    let renewed = asked(ca)[before..].to_vec();
    assert_eq!(renewed.iter().collect::<BTreeSet<_>>().len(), COUNT, "each is renewed once: {renewed:?}");
    // Those who asked by themselves in that second may have been anybody.
    let called: Vec<_> = renewed.iter().skip(5).map(|n| life(*n)).collect();
    for (at, one) in called.iter().enumerate() {
        let overtaken = called[..at].iter().filter(|other| *other > one).count();
        assert!(overtaken < AT_A_TIME, "{called:?}");
    }
}

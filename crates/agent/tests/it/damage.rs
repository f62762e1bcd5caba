//! What lies in the directory of a running agent is damaged, foreign or in the way: no more is lost than what that was.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::run::Order;
use countersign_agent::{EnrollOptions, enroll};
use countersign_identity::ManualClock;
use countersign_testkit::noon_clock;
use countersign_verifier::SystemClock;

use crate::ca::{Answer, Asked, CA_ID, Ca, PAYMENTS};
use crate::grpc::JwtBundles;
use crate::keeping::eventually;
use crate::sealing::{
    OTHER, SECRET, all_three, away, end, identity, keys, of, place, serving, traced, unseal,
};
use crate::socket::{API, Machine, own, uid};

/// The bundle is not told.
fn silent(_: &Ca, asked: &Asked) -> Option<Answer> {
    (asked.path == "/v1/bundle").then(|| (503, String::new()))
}

async fn jwt_bundles(machine: &Machine) -> Option<JwtBundles> {
    let mut stream = machine.client().await.jwt_bundles().await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(2), stream.message()).await;
    told.ok().map(|told| told.unwrap().unwrap())
}

#[tokio::test]
async fn the_keys_of_tokens_of_a_ca_that_was_rebuilt_are_not_served_to_a_machine_enrolled_anew() {
    // Invariant 9.
    let mut machine = Machine::start(&own()).await;
    let former = jwt_bundles(&machine).await.unwrap();
    let kept = identity(&machine).join("workloads/bundle.json");
    eventually("kept", || kept.exists()).await;
    let rebuilt = Ca::start_for(Arc::new(SystemClock), CA_ID, Duration::from_secs(86_400)).await;
    rebuilt.behave(silent);
    let options = EnrollOptions::new(rebuilt.invitation(1), identity(&machine)).replace(true);
    enroll(&options).await.unwrap();
    // While the agent runs, once it has seen the new identity, and after its restart.
    machine.orders.send(Order::RenewNow).await.unwrap();
    eventually("seen", || rebuilt.asked().iter().any(|asked| asked.path == "/v1/renew")).await;
    eventually("asked", || rebuilt.asked().iter().any(|asked| asked.path == "/v1/bundle")).await;
    assert_eq!(jwt_bundles(&machine).await, None, "the former CA's keys are nobody's");
    machine.restart(&own()).await;
    assert_eq!(jwt_bundles(&machine).await, None, "the former CA's keys are nobody's after a restart");
    rebuilt.behave_well();
    machine.restart(&own()).await;
    let told = jwt_bundles(&machine).await.unwrap();
    assert_ne!(told.bundles, former.bundles);
}

#[tokio::test]
async fn keys_of_tokens_that_were_last_told_a_day_ago_are_nobodys_until_the_ca_tells_them() {
    let clock = noon_clock();
    let machine = Machine::start_by(Arc::<ManualClock>::clone(&clock), &own()).await;
    let asked = |machine: &Machine| machine.ca.asked().iter().filter(|it| it.path == "/v1/bundle").count();
    let told = jwt_bundles(&machine).await.unwrap();
    machine.ca.behave(silent);
    let before = asked(&machine);
    clock.advance(Duration::from_secs(20 * 3600));
    machine.orders.send(Order::RenewNow).await.unwrap();
    eventually("asked in vain", || asked(&machine) > before + 1).await;
    assert_eq!(jwt_bundles(&machine).await.as_ref(), Some(&told), "of this day");
    clock.advance(Duration::from_secs(5 * 3600));
    // The next attempts are seconds apart.
    for _ in 0..60 {
        if jwt_bundles(&machine).await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("keys of the day before are still served");
}

#[tokio::test]
async fn what_the_ca_told_before_stops_no_start_if_it_cannot_be_read() {
    let (mut machine, _) = serving().await;
    let kept =
        ["bundle.json", "registrations.json"].map(|name| identity(&machine).join("workloads").join(name));
    eventually("kept", || kept.iter().all(|path| path.exists())).await;
    machine.stop().await;
    for path in &kept {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }
    machine.start_again(&own()).await;
    all_three(&machine).await;
    machine.restart(&own()).await;
    all_three(&machine).await;
    assert!(kept.iter().all(|path| path.is_file()), "what was in the way is gone");
}

#[tokio::test]
async fn a_key_in_the_clear_goes_with_what_cannot_be_understood_beside_it() {
    // Invariant 8.
    let (mut machine, mut before) = serving().await;
    let cut = |path: &Path| {
        let content = fs::read(path).unwrap();
        fs::write(path, &content[..content.len() / 2]).unwrap();
    };
    for name in ["meta.json", "svid.pem", "bundle.pem", "svid.key"] {
        let homes = [API, OTHER].map(|id| place(&machine, id));
        for home in &homes {
            unseal(home, &identity(&machine).join(SECRET));
            cut(&home.join("current").join(name));
        }
        machine.ca.behave(away);
        machine.restart(&own()).await;
        let left = keys(&machine);
        assert!(left.iter().all(|(_, is_clear)| !is_clear), "{name}: {left:?}");
        assert_eq!(left.len(), 2, "of the issuances under way: {name}: {left:?}");
        machine.ca.behave_well();
        machine.restart(&own()).await;
        let after = all_three(&machine).await;
        for id in [API, OTHER] {
            assert_ne!(of(&after, id).x509_svid_key, of(&before, id).x509_svid_key, "{name}");
        }
        assert_eq!(of(&after, PAYMENTS), of(&before, PAYMENTS));
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_where_the_directory_of_a_former_workload_is_closed_ends_no_keeping() {
    let mut machine = Machine::start("").await;
    machine.stop().await;
    let former = identity(&machine).join("workloads/former");
    fs::create_dir_all(former.join("generations")).unwrap();
    machine.ca.register(&[(API, &[&uid()])]);
    let log = machine.scratch.path().join("strace");
    let watched = former.to_str().unwrap();
    let options = ["-P", watched, "-e", "trace=close", "-e", "inject=close:error=EIO"];
    let strace = traced(&machine, &options, &log);
    eventually("served", || std::os::unix::net::UnixStream::connect(machine.socket()).is_ok()).await;
    eventually("removed", || !former.exists()).await;
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    end(strace);
    assert_eq!(told.unwrap().unwrap().unwrap().svids[0].spiffe_id, API);
    assert!(fs::read_to_string(&log).unwrap().contains("(INJECTED)"), "the fault was felt");
}

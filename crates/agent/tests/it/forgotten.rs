//! A CA whose book was restored from a backup does not know the newest certificates: machines renew at once.

use std::time::Duration;

use countersign_api::ProblemCode;

use crate::ca::{Ca, problem};
use crate::keeping::eventually;
use crate::socket::{API, Machine, uid};

fn asked(ca: &Ca, path: &str) -> usize {
    ca.asked().iter().filter(|asked| asked.path == path).count()
}

/// From now on certificates that machines show are in no book; a renewal makes the machine known again, if it is told to.
fn forget(ca: &Ca, heals: bool) {
    let known = ca.issued();
    ca.behave(move |ca, asked| {
        let is_known = heals && (ca.issued() > known || asked.path == "/v1/renew");
        (!is_known).then(|| problem(403, ProblemCode::CertificateUnknown))
    });
}

#[tokio::test]
async fn a_machine_that_the_book_has_forgotten_renews_at_once_and_hears_of_registrations_again() {
    let machine = Machine::start("").await;
    let ca = &machine.ca;
    eventually("the registrations are followed", || asked(ca, "/v1/registrations") > 0).await;
    forget(ca, true);
    ca.register(&[(API, &[&uid()])]);
    eventually("renewed", || asked(ca, "/v1/renew") == 1).await;
    let served = async {
        loop {
            // Some clients give up after the first refusal, others come back.
            let mut stream = machine.client().await.x509_svids().await.unwrap();
            if let Ok(Some(found)) = stream.message().await {
                break found;
            }
        }
    };
    let served =
        tokio::time::timeout(Duration::from_secs(20), served).await.expect("served before minutes are over");
    assert_eq!(served.svids[0].spiffe_id, API);
    assert_eq!(asked(ca, "/v1/renew"), 1, "once");
}

#[tokio::test]
async fn a_forgotten_machine_whose_renewal_is_refused_too_makes_no_loop() {
    let machine = Machine::start("").await;
    let ca = &machine.ca;
    eventually("the registrations are followed", || asked(ca, "/v1/registrations") > 0).await;
    forget(ca, false);
    ca.register(&[(API, &[&uid()])]);
    eventually("tried", || asked(ca, "/v1/renew") == 1).await;
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    stream.message().await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(asked(ca, "/v1/renew"), 1, "the next attempt is minutes away");
}

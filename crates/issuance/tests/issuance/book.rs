//! What the book is told, and when

use std::net::IpAddr;

use countersign_identity::MachineId;
use countersign_issuance::{Act, LedgerError, LedgerRefusal, SignerError, Source, approve_own};
use sha2::{Digest, Sha256};

use crate::premises::{Asked, DAY, NOW, Premises, enroll, lineage, registration, serial};
use crate::requests::{p256, proven};
use rcgen::PublicKeyData;

/// Invariant 2: the intent is in the book before the pen moves, and the pen signs what the book has.
#[tokio::test]
async fn the_book_has_the_exact_bytes_before_the_pen_moves() {
    let premises = Premises::new().await;
    let issued = premises.issue(proven(&p256(), vec![])).await;
    let asked = premises.log.lock().unwrap().clone();
    let [Asked::Record(recorded), Asked::Sign(signed), Asked::Keep(kept_serial, kept)] = asked.as_slice()
    else {
        panic!("{asked:?}");
    };
    assert_eq!(recorded, signed);
    assert_eq!((*kept_serial, kept.as_slice()), (serial(3), issued.der()));
    let (_, certificate) = x509_parser::parse_x509_certificate(issued.der()).unwrap();
    assert_eq!(certificate.tbs_certificate.as_ref(), recorded.as_slice());
}

/// Invariant 2: nothing is signed that the book did not take.
#[tokio::test]
async fn what_the_book_refuses_is_never_signed() {
    let mut premises = Premises::new().await;
    for answer in [
        LedgerError::Refused(LedgerRefusal::InvitationUsed),
        LedgerError::ReadOnly { why: "input/output error".to_owned() },
    ] {
        premises.book.answer = Err(answer.clone());
        let prepared = premises
            .approve(proven(&p256(), vec![]))
            .unwrap()
            .prepare(serial(3), lineage(), &premises.house())
            .unwrap();
        assert_eq!(prepared.record(&premises.book, enroll()).await.unwrap_err(), answer);
    }
    assert!(
        !premises.log.lock().unwrap().iter().any(|asked| matches!(asked, Asked::Sign(_) | Asked::Keep(..)))
    );
}

#[tokio::test]
async fn the_intent_says_everything_the_book_has_to_know() {
    let premises = Premises::new().await;
    let key = p256();
    let act = Act::Renew {
        machine: MachineId::from_random([4; 8]),
        presented: serial(9),
        source: Source { addr: Some(IpAddr::from([192, 0, 2, 1])) },
    };
    let issued = premises.finish(premises.approve(proven(&key, vec![])).unwrap(), act.clone()).await;
    let intents = premises.book.intents.lock().unwrap();
    let [intent] = intents.as_slice() else { panic!("one intent") };
    assert_eq!(intent.serial(), serial(3));
    assert_eq!(intent.spiffe_id(), &registration().id);
    assert_eq!(intent.lineage(), lineage());
    assert_eq!(intent.key_hash().as_bytes()[..], Sha256::digest(key.subject_public_key_info())[..]);
    assert_eq!(intent.validity(), issued.validity());
    assert_eq!(intent.profile(), "workload");
    assert_eq!(intent.issuer(), premises.issuer.key_hash());
    assert_eq!(intent.time(), NOW);
    assert_eq!(intent.act(), &act);
}

/// Invariant 11: a machine's act never yields the CA's certificate; nor does a machine get one past the book's judgement.
#[tokio::test]
async fn the_cas_own_certificate_and_a_machines_are_recorded_by_their_own_acts_only() {
    let premises = Premises::new().await;
    let refused = LedgerError::Refused(LedgerRefusal::ActMismatch);
    let machine = premises.approve(proven(&p256(), vec![])).unwrap();
    let machine = machine.prepare(serial(3), lineage(), &premises.house()).unwrap();
    assert_eq!(machine.record(&premises.book, Act::Own).await.unwrap_err(), refused);
    let own = || {
        approve_own(proven(&p256(), vec![]), &premises.reserved, DAY, &premises.house(), NOW)
            .unwrap()
            .prepare(serial(3), lineage(), &premises.house())
            .unwrap()
    };
    assert_eq!(own().record(&premises.book, enroll()).await.unwrap_err(), refused);
    assert_eq!(premises.log.lock().unwrap().as_slice(), [], "the book was not even asked");
    assert!(own().record(&premises.book, Act::Own).await.is_ok());
}

#[tokio::test]
async fn a_certificate_that_could_not_be_signed_is_not_kept() {
    let premises = Premises::new().await;
    let prepared = premises
        .approve(proven(&p256(), vec![]))
        .unwrap()
        .prepare(serial(3), lineage(), &premises.house())
        .unwrap();
    let recorded = prepared.record(&premises.book, enroll()).await.unwrap();
    assert_eq!(recorded.intent().serial(), serial(3));
    assert_eq!(recorded.sign(&premises.root_pen, &premises.book).await.unwrap_err(), SignerError::WrongKey);
    assert!(!premises.log.lock().unwrap().iter().any(|asked| matches!(asked, Asked::Keep(..))));
}

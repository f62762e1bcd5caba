//! Recovery: an expired machine comes back by itself, once, unless something speaks against it.

use std::time::Duration;

use countersign_identity::KeyHash;
use countersign_issuance::{Act, LedgerError, LedgerRefusal, OnClone, Recorded};
use countersign_store::{
    Book, Claim, Door, LineageState, MachineStatus, Order, Presentation, Store, Target, Whom,
};
use rcgen::KeyPair;

use crate::agent::{Agent, Desk, OPERATOR, renewal, source};
use crate::house::{HOUR, MINUTE, authority, key, key_hash, noon, registration, serial};

const ALLOWANCE: Duration = Duration::from_hours(72);

const fn refused(why: LedgerRefusal) -> Option<LedgerError> {
    Some(LedgerError::Refused(why))
}

fn claim(presented: KeyHash, approval: bool) -> Claim {
    Claim { presented, allowance: ALLOWANCE, approval, source: source() }
}

async fn recover(
    desk: &Desk<'_>,
    agent: &Agent,
    presented: KeyHash,
    new_key: &KeyPair,
    approval: bool,
) -> Result<Recorded, LedgerError> {
    let prepared = authority().prepare(&agent.registration, new_key, serial(), agent.lineage, desk.now);
    let Claim { presented, allowance, approval, source } = claim(presented, approval);
    prepared
        .record(desk.book, Act::Recover { machine: agent.machine, presented, allowance, approval, source })
        .await
}

async fn why_not(desk: &Desk<'_>, agent: &Agent, presented: KeyHash) -> Option<LedgerError> {
    recover(desk, agent, presented, &key(), false).await.err()
}

fn newest(desk: &Desk<'_>, agent: &Agent) -> countersign_identity::Serial {
    desk.machine(agent).newest().serial
}

pub(crate) async fn an_expired_machine_comes_back_once_until_an_operator_resets_it(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    assert_eq!(why_not(&desk, &agent, agent.key_hash()).await, refused(LedgerRefusal::NotExpired));

    let later = desk.at(noon() + 50 * HOUR);
    let new_key = key();
    let recorded = recover(&later, &agent, agent.key_hash(), &new_key, false).await.unwrap();
    later.sign(recorded).await;
    let shown = later.present(newest(&later, &agent), Door::Other).await;
    assert_eq!(shown, Presentation::Confirmed { machine: agent.machine });
    assert!(desk.kinds().contains(&"machine.recovered".to_owned()));

    let again = desk.at(noon() + 60 * HOUR);
    assert_eq!(why_not(&again, &agent, key_hash(&new_key)).await, refused(LedgerRefusal::RecoveryUsed));
    assert_eq!(why_not(&again, &agent, agent.key_hash()).await, refused(LedgerRefusal::Superseded));
    let whom = Whom::Machine(agent.machine);
    book.order(Order::ResetRecovery, whom, "a broken fan".into(), OPERATOR, again.now).await.unwrap();
    recover(&again, &agent, key_hash(&new_key), &key(), false).await.unwrap();
}

pub(crate) async fn whoever_is_away_for_longer_than_the_allowance_enrolls_again(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let end = desk.machine(&agent).confirmed.not_after;
    let over = desk.at(end + ALLOWANCE + Duration::from_secs(1));
    assert_eq!(why_not(&over, &agent, agent.key_hash()).await, refused(LedgerRefusal::RecoveryOver));
    assert!(recover(&desk.at(end + ALLOWANCE), &agent, agent.key_hash(), &key(), false).await.is_ok());
}

pub(crate) async fn a_recovery_whose_answer_was_lost_is_repeated(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let later = desk.at(noon() + 50 * HOUR);
    let new_key = key();
    let recorded = recover(&later, &agent, agent.key_hash(), &new_key, false).await.unwrap();
    later.sign(recorded).await;
    let same = recover(&later, &agent, agent.key_hash(), &new_key, false).await.err();
    assert_eq!(same, refused(LedgerRefusal::KeyInUse), "it is kept, and the answer to a retry");
    let given = newest(&later, &agent);
    recover(&later, &agent, agent.key_hash(), &key(), false).await.unwrap();
    assert!(later.is_listed(given), "another key supersedes what was given");
    let kept = book.standing(given).unwrap().unwrap();
    assert_eq!(kept.lineage, Some(LineageState::Superseded));
}

pub(crate) async fn a_recovery_takes_a_new_key(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let later = desk.at(noon() + 50 * HOUR);
    let same = recover(&later, &agent, agent.key_hash(), &agent.key, false).await.err();
    assert_eq!(same, refused(LedgerRefusal::KeyInUse));
}

pub(crate) async fn nobody_comes_back_after_a_second_holder_was_seen(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let old = desk.renew(&mut agent).await.unwrap();
    desk.present(agent.serial, Door::Other).await;
    desk.present(old, renewal(OnClone::Report, source())).await;
    let later = desk.at(noon() + 50 * HOUR);
    assert_eq!(why_not(&later, &agent, agent.key_hash()).await, refused(LedgerRefusal::RecoveryBarred));
}

pub(crate) async fn a_revoked_suspended_or_unregistered_machine_does_not_come_back(book: &Book) {
    let desk = Desk { book, now: noon() };
    let struck = desk.enroll(&registration("/struck")).await;
    desk.revoke(Target::Serial(struck.serial)).await;
    let suspended = desk.enroll(&registration("/suspended")).await;
    let whom = Whom::Machine(suspended.machine);
    book.order(Order::Suspend, whom, String::new(), OPERATOR, desk.now).await.unwrap();
    let gone = desk.enroll(&registration("/gone")).await;
    book.remove_registration(gone.registration.id.clone(), OPERATOR, desk.now).await.unwrap();
    let later = desk.at(noon() + 50 * HOUR);
    book.expire(later.now).await.unwrap();
    for (agent, why) in [
        (struck, LedgerRefusal::RecoveryBarred),
        (suspended, LedgerRefusal::MachineSuspended),
        (gone, LedgerRefusal::RegistrationGone),
    ] {
        assert_eq!(why_not(&later, &agent, agent.key_hash()).await, refused(why));
    }
}

pub(crate) async fn a_profile_may_want_an_operators_word_before_a_machine_comes_back(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let later = desk.at(noon() + 50 * HOUR);
    let held = refused(LedgerRefusal::MachineHeld);
    assert_eq!(recover(&later, &agent, agent.key_hash(), &key(), true).await.err(), held);
    book.ask_recovery(agent.machine, claim(agent.key_hash(), true), later.now).await.unwrap();
    assert_eq!(later.machine(&agent).status, MachineStatus::Held);
    assert_eq!(recover(&later, &agent, agent.key_hash(), &key(), true).await.err(), held);
    let whom = Whom::Machine(agent.machine);
    book.order(Order::Approve, whom, "seen in the rack".into(), OPERATOR, later.now).await.unwrap();
    recover(&later, &agent, agent.key_hash(), &key(), true).await.unwrap();
    assert_eq!(later.machine(&agent).status, MachineStatus::Active);
}

pub(crate) async fn a_hurried_machine_knows_until_when_and_why(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let whom = Whom::Identity(agent.registration.id.clone());
    book.order(Order::Renew { within: 5 * MINUTE }, whom, "a leaked key".into(), OPERATOR, noon())
        .await
        .unwrap();
    let hurry = desk.machine(&agent).hurry.unwrap();
    assert_eq!(
        (hurry.since, hurry.until, hurry.reason.as_str()),
        (noon(), noon() + 5 * MINUTE, "a leaked key")
    );
    assert!(desk.kinds().contains(&"machine.hurried".to_owned()));
}

pub(crate) async fn what_was_seen_being_served_is_written_once(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    for _ in 0..2 {
        let address = "127.0.0.1:443".to_owned();
        book.deployed(agent.machine, agent.serial, address, desk.now).await.unwrap();
    }
    assert_eq!(desk.machine(&agent).deployed.unwrap().serial, agent.serial);
    assert_eq!(desk.kinds().iter().filter(|kind| *kind == "machine.deployed").count(), 1);
}

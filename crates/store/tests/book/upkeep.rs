//! Upkeep: what leaves, what is counted, events, trust, backups.

use std::time::Duration;

use countersign_identity::{KeyHash, hex};
use countersign_store::{
    Actor, Book, Event, Expired, IssuanceFilter, IssuerRecord, IssuerState, Refusal, Store, StoreError,
};

use crate::agent::{Desk, OPERATOR};
use crate::house::{HOUR, MINUTE, key_hash, noon, registration};

pub(crate) async fn expired_issuances_leave_in_whole_partitions(book: &Book) {
    let desk = Desk { book, now: noon() };
    let early = desk.enroll(&registration("/early")).await; // ends at half past one
    let desk = desk.at(noon() + MINUTE * 20);
    let late = desk.enroll(&registration("/late")).await; // ends at ten to two
    let both_end = noon() + MINUTE * 85;
    assert_eq!(book.expire(both_end).await.unwrap().issuances, 0, "their hour is not over");
    let over = noon() + MINUTE * 91;
    assert_eq!(book.expire(over).await.unwrap().issuances, 2);
    for agent in [&early, &late] {
        assert_eq!(book.issuance(agent.serial).unwrap(), None);
        assert_eq!(book.standing(agent.serial).unwrap(), None);
        assert!(book.machine(agent.machine).unwrap().is_some(), "the machine may recover");
    }
    assert_eq!(book.counts().unwrap().issuances, 0);
    assert_eq!(book.expire(over).await.unwrap(), Expired::default());
}

pub(crate) async fn a_revoked_line_leaves_with_its_certificate(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    desk.revoke(countersign_store::Target::Serial(agent.serial)).await;
    assert!(!desk.at(noon() + HOUR).is_listed(agent.serial), "nobody believes an expired one anyway");
    book.expire(noon() + HOUR * 2).await.unwrap();
    assert!(!desk.is_listed(agent.serial));
}

pub(crate) async fn an_invitation_leaves_when_nobody_can_use_or_repeat_it(book: &Book) {
    let desk = Desk { book, now: noon() };
    let unused = desk.invite(&registration("/unused"), 1).await;
    let used = desk.invite(&registration("/payments"), 1).await;
    let agent = desk.enroll_by(&registration("/payments"), used, crate::house::key()).await.unwrap();
    assert_eq!(book.expire(noon() + MINUTE * 16).await.unwrap().invitations, 1);
    assert_eq!(book.invitation(&unused).unwrap(), None);
    assert!(book.redemption(&used, &key_hash(&agent.key)).unwrap().is_some(), "its key may repeat itself");
    assert_eq!(book.expire(noon() + HOUR * 2).await.unwrap().invitations, 1);
    assert_eq!(book.redemption(&used, &key_hash(&agent.key)).unwrap(), None);
    assert_eq!(book.counts().unwrap().invitations, 0);
}

pub(crate) async fn machines_leave_when_they_have_ended_or_can_no_longer_recover(book: &Book) {
    let desk = Desk { book, now: noon() };
    let replaced = desk.enroll(&registration("/payments")).await;
    let agent = desk.enroll(&registration("/payments")).await;
    assert_eq!(book.expire(noon() + HOUR * 2).await.unwrap().machines, 1);
    assert_eq!(book.machine(replaced.machine).unwrap(), None);
    assert!(book.machine(agent.machine).unwrap().is_some());
    assert_eq!(book.expire(noon() + HOUR * 24 * 31).await.unwrap().machines, 1);
    assert_eq!(book.machine(agent.machine).unwrap(), None);
    assert_eq!(desk.kinds().last().unwrap(), "machine.lapsed");
    let counts = book.counts().unwrap();
    assert_eq!((counts.active, counts.ended), (0, 0));
}

pub(crate) async fn issuances_are_found_by_machine_and_end(book: &Book) {
    let desk = Desk { book, now: noon() };
    let first = desk.enroll(&registration("/first")).await;
    let desk = desk.at(noon() + MINUTE * 45);
    let second = desk.enroll(&registration("/second")).await;
    let serials = |filter: &IssuanceFilter| -> Vec<_> {
        book.issuances(filter, None, 10).unwrap().items.iter().map(|issuance| issuance.serial).collect()
    };
    assert_eq!(serials(&IssuanceFilter::default()), [first.serial, second.serial]);
    let soon = IssuanceFilter { ending_before: Some(noon() + MINUTE * 61), ..IssuanceFilter::default() };
    assert_eq!(serials(&soon), [first.serial]);
    let live = IssuanceFilter { live_at: Some(noon() + MINUTE * 61), ..IssuanceFilter::default() };
    assert_eq!(serials(&live), [second.serial]);
    let of_machine = IssuanceFilter { machine: Some(second.machine), ..IssuanceFilter::default() };
    assert_eq!(serials(&of_machine), [second.serial]);
}

pub(crate) async fn events_are_canonical_numbered_without_gaps_and_commit_to_persons(book: &Book) {
    let event = Event::new("decision.refused", noon())
        .text("zone", "a\u{e9}\"\\\n\u{1}")
        .number("age", u64::MAX)
        .flag("first", true)
        .personal("user", "alice");
    book.append_events(vec![event, Event::new("test.second", noon())]).await.unwrap();
    let events = book.events(0, 10).unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2]);
    let person = &events[0].personal[0];
    let expected = format!(
        "{{\"age\":9007199254740991,\"first\":true,\"kind\":\"decision.refused\",\"seq\":1,\
         \"time\":\"2026-11-23T12:30:00Z\",\"user\":\"{}\",\"v\":1,\"zone\":\"a\u{e9}\\\"\\\\\\n\\u0001\"}}",
        person.commitment(),
    );
    assert_eq!(std::str::from_utf8(&events[0].bytes).unwrap(), expected);
    assert_eq!((person.field.as_str(), person.value.as_str()), ("user", "alice"));
    assert!(!expected.contains("alice") && !expected.contains(&hex::encode(&person.salt)));
    assert_eq!(book.events(1, 10).unwrap().len(), 1);
    assert_eq!(book.counts().unwrap().events, 2);
}

fn issuer(number: u8, state: IssuerState) -> IssuerRecord {
    IssuerRecord {
        key_hash: KeyHash::from_bytes([number; 32]),
        der: vec![number; 700],
        not_after: noon() + HOUR * 24 * 90,
        state,
        created: noon() + Duration::from_secs(number.into()),
    }
}

pub(crate) async fn one_issuer_is_active_and_the_one_before_retires(book: &Book) {
    let desk = Desk { book, now: noon() };
    book.record_issuer(issuer(1, IssuerState::Active), Actor::House, noon()).await.unwrap();
    book.record_issuer(issuer(2, IssuerState::Active), Actor::House, noon()).await.unwrap();
    let expected = [issuer(1, IssuerState::Retiring), issuer(2, IssuerState::Active)];
    assert_eq!(book.issuers().unwrap(), expected);
    assert_eq!(desk.trust(), 2);
}

pub(crate) async fn a_policy_is_applied_once_and_long_ones_are_kept_whole(book: &Book) {
    let desk = Desk { book, now: noon() };
    assert_eq!(book.policy().unwrap(), None);
    let long = "# règle\n".repeat(200_000);
    assert_eq!(book.set_policy([1; 32], "version = 1".into(), OPERATOR, noon()).await.unwrap(), 1);
    assert_eq!(book.set_policy([2; 32], long.clone(), OPERATOR, noon()).await.unwrap(), 2);
    assert_eq!(book.set_policy([2; 32], long.clone(), OPERATOR, noon()).await.unwrap(), 2);
    let policy = book.policy().unwrap().unwrap();
    assert_eq!(
        (policy.number, policy.version, policy.text, policy.actor.as_str()),
        (2, [2; 32], long, "uid:0")
    );
    assert_eq!(desk.trust(), 2, "the repetition changed nothing");
    let endless = "#".repeat(16 * 1024 * 1024 + 1);
    let refusal = book.set_policy([3; 32], endless, OPERATOR, noon()).await.unwrap_err();
    assert!(matches!(refusal, StoreError::TooLarge { .. }), "{refusal}");
}

/// Invariant 9.
pub(crate) async fn roots_documents_follow_one_another_and_never_go_back(book: &Book) {
    let add = |version, text: &str| book.add_roots(version, text.as_bytes().to_vec(), OPERATOR, noon());
    add(1, "first").await.unwrap();
    add(2, "second").await.unwrap();
    add(2, "second").await.unwrap();
    for (version, text) in [(1, "first"), (2, "forged"), (4, "fourth")] {
        let refusal = add(version, text).await.unwrap_err();
        let expected = Refusal::RootsOutOfOrder { found: version, newest: 2 };
        assert_eq!(refusal, StoreError::Refused(expected));
    }
    let versions: Vec<_> = book.roots().unwrap().iter().map(|roots| roots.version).collect();
    assert_eq!(versions, [1, 2]);
}

/// Invariant 9.
pub(crate) async fn the_trust_sequence_rises_with_trust_and_with_nothing_else(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut watched = book.trust_sequence();
    let mut agent = desk.enroll(&registration("/payments")).await;
    desk.renew(&mut agent).await.unwrap();
    book.expire(noon() + MINUTE).await.unwrap();
    assert_eq!(*watched.borrow_and_update(), 0, "nobody must learn of this");
    desk.revoke(countersign_store::Target::Serial(agent.serial)).await;
    assert!(watched.has_changed().unwrap());
    assert_eq!(*watched.borrow_and_update(), 1);
}

pub(crate) async fn a_backup_restores_the_same_book(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    desk.renew(&mut agent).await.unwrap();
    book.set_policy([1; 32], "long ".repeat(5000), OPERATOR, noon()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("book.backup");
    let rows = book.backup(&file).unwrap().rows;
    assert!(rows > 10);
    let restored = Book::restore(&file, &dir.path().join("restored"), crate::options()).unwrap();
    assert_eq!(restored.standing(agent.serial).unwrap(), book.standing(agent.serial).unwrap());
    assert_eq!(restored.events(0, 100).unwrap(), book.events(0, 100).unwrap());
    let again = dir.path().join("again.backup");
    restored.backup(&again).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&again).unwrap());
}

pub(crate) async fn a_damaged_or_cut_backup_is_refused_before_it_writes(book: &Book) {
    let desk = Desk { book, now: noon() };
    desk.enroll(&registration("/payments")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("book.backup");
    book.backup(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let longer = [whole.as_slice(), b"!"].concat();
    for (n, bad) in [&flipped[..], &whole[..whole.len() - 1], &whole[..40], b"", &longer].iter().enumerate() {
        std::fs::write(&file, bad).unwrap();
        let into = dir.path().join(format!("book-{n}"));
        let refusal = Book::restore(&file, &into, crate::options()).unwrap_err();
        assert!(matches!(refusal, StoreError::BadBackup { .. }), "{refusal}");
        assert_eq!(Book::open(&into, crate::options()).unwrap().counts().unwrap().events, 0);
    }
}

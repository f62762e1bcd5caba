//! Restoration: yesterday's book under a fleet that lives on.

use std::sync::Arc;

use countersign_identity::{Serial, Timestamp};
use countersign_store::{
    Book, Cause, MachineStatus, Met, Order, Presentation, Restoration, RevokedSerial, Store, Target,
    Unbooked, Whom, engine::MemoryEngine,
};

use crate::agent::{Agent, Desk, OPERATOR, source};
use crate::house::{HOUR, MINUTE, machine_from, noon, registration};

/// The book as it is now, in another place.
fn copy(book: &Book) -> Book {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("book.backup");
    book.backup(&file).unwrap();
    Book::restore_on(&file, Arc::new(MemoryEngine::new()), crate::options()).unwrap()
}

fn list(book: &Book) -> Vec<RevokedSerial> {
    book.revoked(Timestamp::from_unix(0), None, 1000).unwrap().items
}

/// What the door knows of a certificate that the first book gave.
fn shown(book: &Book, serial: Serial) -> Unbooked {
    let kept = book.issuance(serial).unwrap().unwrap();
    let issuance = kept.issuance;
    Unbooked {
        machine: machine_from(77_000 + u64::from(serial.as_bytes()[17])),
        serial,
        spiffe_id: issuance.spiffe_id,
        lineage: issuance.lineage,
        key_hash: issuance.key_hash,
        validity: issuance.validity,
        issuer: issuance.issuer,
        tbs: kept.tbs.to_vec(),
        certificate: kept.certificate.unwrap().to_vec(),
    }
}

async fn tell(book: &Book, revoked: Option<Vec<RevokedSerial>>, now: Timestamp) -> (usize, usize, usize) {
    let done = book.restored(Restoration { epoch: 2, revoked }, OPERATOR, now).await.unwrap();
    (done.revoked, done.held, done.invitations)
}

pub(crate) async fn a_restored_book_never_un_revokes(book: &Book) {
    let desk = Desk { book, now: noon() };
    let known = desk.enroll(&registration("/known")).await;
    let restored = copy(book);
    let unknown = desk.enroll(&registration("/unknown")).await;
    desk.revoke(Target::Machine(known.machine)).await;
    desk.revoke(Target::Machine(unknown.machine)).await;
    let later = noon() + MINUTE;
    assert_eq!(tell(&restored, Some(list(book)), later).await, (2, 1, 0));
    let after = Desk { book: &restored, now: later };
    assert!(after.is_listed(known.serial) && after.is_listed(unknown.serial));
    assert_eq!(after.machine(&known).status, MachineStatus::Held);
    let presented = after.present(known.serial, countersign_store::Door::Other).await;
    assert_eq!(presented, Presentation::Revoked { cause: Cause::Restored });
    let met = restored.meet(shown(book, unknown.serial), source(), later).await.unwrap();
    assert_eq!(met, Met::Revoked);
    let validity = shown(book, unknown.serial).validity;
    assert!(!restored.may_be_forgotten(unknown.serial, validity).unwrap());
    assert_eq!(after.kinds().last().unwrap(), "book.restored");
    restored.expire(noon() + HOUR * 3).await.unwrap();
    assert!(list(&restored).is_empty(), "lines without an issuance leave as well");
}

pub(crate) async fn a_lineage_of_the_forgotten_time_waits_for_an_operator(book: &Book) {
    let desk = Desk { book, now: noon() };
    let restored = copy(book);
    let agent = desk.enroll(&registration("/unknown")).await;
    let later = noon() + MINUTE;
    let met = |book| {
        let unbooked = shown(book, agent.serial);
        let restored = &restored;
        async move { restored.meet(unbooked, source(), later).await.unwrap() }
    };
    assert_eq!(met(book).await, Met::Foreign, "this book was not restored");
    tell(&restored, Some(list(book)), later).await;
    assert!(restored.may_be_forgotten(agent.serial, shown(book, agent.serial).validity).unwrap());
    let Met::NotActive { machine, status: MachineStatus::Held } = met(book).await else { unreachable!() };
    let standing = restored.standing(agent.serial).unwrap().unwrap();
    assert_eq!(standing.issuance.lineage, agent.lineage);
    assert_eq!(
        restored.issuance(agent.serial).unwrap().unwrap().certificate,
        book.issuance(agent.serial).unwrap().unwrap().certificate
    );
    // Accepted, it goes on as if nothing had been.
    let after = Desk { book: &restored, now: later };
    after.invite(&agent.registration, 1).await;
    let mut accepted = Agent { machine, ..agent };
    assert!(after.renew(&mut accepted).await.is_err());
    restored.order(Order::Approve, Whom::Machine(machine), String::new(), OPERATOR, later).await.unwrap();
    after.renew(&mut accepted).await.unwrap();
}

pub(crate) async fn a_known_lineage_goes_on_from_its_newest_certificate(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let restored = copy(book);
    let since = desk.at(noon() + MINUTE);
    since.renew(&mut agent).await.unwrap();
    let older = agent.serial;
    let since = desk.at(noon() + MINUTE * 2);
    since.renew(&mut agent).await.unwrap();
    let later = noon() + MINUTE * 3;
    tell(&restored, Some(list(book)), later).await;
    let met = restored.meet(shown(book, agent.serial), source(), later).await.unwrap();
    assert_eq!(met, Met::Continued { machine: agent.machine });
    let after = Desk { book: &restored, now: later };
    assert_eq!(after.machine(&agent).confirmed.serial, agent.serial);
    assert_eq!(
        restored.meet(shown(book, agent.serial), source(), later).await.unwrap(),
        Met::Foreign,
        "known by now"
    );
    after.renew(&mut agent).await.unwrap();
    // Somebody else has an older one: a copy, perhaps.
    let met = restored.meet(shown(book, older), source(), later).await.unwrap();
    assert_eq!(met, Met::NotActive { machine: agent.machine, status: MachineStatus::Held });
    assert_eq!(after.machine(&agent).status, MachineStatus::Held);
}

pub(crate) async fn without_a_word_of_the_time_between_every_machine_waits(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agents = Vec::new();
    for n in 0..3 {
        agents.push(desk.enroll(&registration(&format!("/web/{n}"))).await);
    }
    desk.invite(&registration("/open"), 1).await;
    let restored = copy(book);
    assert_eq!(tell(&restored, None, noon() + MINUTE).await, (0, 3, 1));
    let after = Desk { book: &restored, now: noon() + MINUTE };
    assert!(agents.iter().all(|agent| after.machine(agent).status == MachineStatus::Held));
    assert_eq!(restored.counts().unwrap().invitations, 3, "those used up may still be repeated");
}

pub(crate) async fn what_was_issued_after_the_restore_is_never_forgotten(book: &Book) {
    let desk = Desk { book, now: noon() };
    let restored = copy(book);
    tell(&restored, None, noon()).await;
    // As if an issuer's key had been stolen: the book gave no such certificate.
    let forged = desk.at(noon() + MINUTE * 5).enroll(&registration("/forged")).await;
    let unbooked = shown(book, forged.serial);
    assert!(!restored.may_be_forgotten(forged.serial, unbooked.validity).unwrap());
    let met = restored.meet(unbooked, source(), noon() + MINUTE * 6).await.unwrap();
    assert_eq!(met, Met::Foreign);
}

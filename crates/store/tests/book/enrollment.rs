//! Enrollment: invitations bind keys to machines, once.

use countersign_issuance::{LedgerError, LedgerRefusal, Machines};
use countersign_store::{Book, MachineStatus, Refusal, Store, StoreError};

use crate::agent::Desk;
use crate::house::{
    HOUR, MINUTE, authority, draw, key, key_hash, lineage_from, machine_from, noon, registration, serial,
};

const fn refused(why: LedgerRefusal) -> LedgerError {
    LedgerError::Refused(why)
}

pub(crate) async fn an_enrolled_machine_stands_with_all_that_a_door_must_know(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let standing = book.standing(agent.serial).unwrap().unwrap();
    let machine = standing.machine.unwrap();
    assert_eq!(
        (machine.id, machine.lineage, machine.status),
        (agent.machine, agent.lineage, MachineStatus::Active)
    );
    assert_eq!(machine.confirmed.serial, agent.serial);
    assert_eq!(standing.registration.unwrap(), agent.registration);
    assert_eq!(standing.issuance.key_hash, agent.key_hash());
    let issued = book.issuance(agent.serial).unwrap().unwrap();
    let certificate = issued.certificate.unwrap();
    assert!(
        certificate.windows(issued.tbs.len()).any(|window| *window == *issued.tbs),
        "what was recorded is what was signed"
    );
    assert_eq!(desk.kinds(), ["registration.created", "invitation.created", "machine.enrolled"]);
}

pub(crate) async fn one_invitation_redeemed_by_two_keys_at_once_succeeds_once(book: &Book) {
    let desk = Desk { book, now: noon() };
    let registration = registration("/payments");
    let hash = desk.invite(&registration, 1).await;
    let (one, other) =
        tokio::join!(desk.enroll_by(&registration, hash, key()), desk.enroll_by(&registration, hash, key()),);
    let refusals: Vec<_> = [one.err(), other.err()].into_iter().flatten().collect();
    assert_eq!(refusals, [refused(LedgerRefusal::InvitationUsed)]);
    assert_eq!(book.counts().unwrap().active, 1);
    assert_eq!(book.invitation(&hash).unwrap().unwrap().used, 1);
}

pub(crate) async fn an_invitation_with_several_uses_serves_so_many_keys(book: &Book) {
    let desk = Desk { book, now: noon() };
    let many = countersign_issuance::Registration { machines: Machines::Many, ..registration("/web") };
    let hash = desk.invite(&many, 2).await;
    desk.enroll_by(&many, hash, key()).await.unwrap();
    desk.enroll_by(&many, hash, key()).await.unwrap();
    let third = desk.enroll_by(&many, hash, key()).await.err();
    assert_eq!(third, Some(refused(LedgerRefusal::InvitationUsed)));
    assert_eq!(book.counts().unwrap().active, 2, "none replaced another");
    let one = desk.try_invite(&registration("/db"), 2).await.unwrap_err();
    assert!(matches!(one, StoreError::Refused(Refusal::UsesNeedMany { uses: 2, .. })), "{one}");
}

pub(crate) async fn an_unknown_expired_or_foreign_invitation_is_refused(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (payments, web) = (registration("/payments"), registration("/web"));
    let hash = desk.invite(&payments, 1).await;
    desk.invite(&web, 1).await;
    let unknown = desk.enroll_by(&payments, [0; 32], key()).await.err();
    assert_eq!(unknown, Some(refused(LedgerRefusal::InvitationUnknown)));
    let foreign = desk.enroll_by(&web, hash, key()).await.err();
    assert_eq!(foreign, Some(refused(LedgerRefusal::InvitationUnknown)), "it leads to another identity");
    let late = desk.at(noon() + MINUTE * 16).enroll_by(&payments, hash, key()).await.err();
    assert_eq!(late, Some(refused(LedgerRefusal::InvitationExpired)));
    desk.at(noon() + MINUTE * 15).enroll_by(&payments, hash, key()).await.unwrap();
}

pub(crate) async fn the_same_key_repeats_an_enrollment_whose_certificate_was_lost(book: &Book) {
    let desk = Desk { book, now: noon() };
    let registration = registration("/payments");
    let hash = desk.invite(&registration, 1).await;
    let key = key();
    let (machine, lineage, first) = (machine_from(draw()), lineage_from(draw()), serial());
    desk.redeem(&registration, hash, &key, (machine, lineage, first)).await.unwrap();
    let redemption = book.redemption(&hash, &key_hash(&key)).unwrap().unwrap();
    assert_eq!((redemption.machine, redemption.lineage, redemption.serial), (machine, lineage, first));

    let other = desk.redeem(&registration, hash, &key, (machine_from(draw()), lineage, serial())).await.err();
    assert_eq!(
        other,
        Some(refused(LedgerRefusal::LineageMoved)),
        "the machine it became is the one to go on with"
    );

    // Long after the invitation's own end, and nothing is used up.
    let later = desk.at(noon() + MINUTE * 40);
    let second = serial();
    let again = later.redeem(&registration, hash, &key, (machine, lineage, second)).await.unwrap();
    later.sign(again).await;
    assert_eq!(book.machine(machine).unwrap().unwrap().confirmed.serial, second);
    assert_eq!(book.invitation(&hash).unwrap().unwrap().used, 1);
    assert!(
        book.issuance(first).unwrap().unwrap().issuance.is_live(later.now),
        "the abandoned one counts as live"
    );
    let third = later.redeem(&registration, hash, &key, (machine, lineage, serial())).await.err();
    assert_eq!(
        third,
        Some(refused(LedgerRefusal::KeyInUse)),
        "its certificate is kept and can be given again"
    );
}

pub(crate) async fn an_enrollment_is_not_repeated_once_its_certificate_has_ended(book: &Book) {
    let desk = Desk { book, now: noon() };
    let registration = registration("/payments");
    let hash = desk.invite(&registration, 1).await;
    let key = key();
    let ids = (machine_from(draw()), lineage_from(draw()), serial());
    desk.redeem(&registration, hash, &key, ids).await.unwrap();
    let late = desk.at(noon() + HOUR * 2).redeem(&registration, hash, &key, (ids.0, ids.1, serial())).await;
    assert_eq!(late.err(), Some(refused(LedgerRefusal::InvitationUsed)));
}

/// Invariant 5.
pub(crate) async fn a_key_of_an_unexpired_certificate_is_refused(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let own = desk.ask(&agent, &agent.key, serial()).await.err();
    assert_eq!(own, Some(refused(LedgerRefusal::KeyInUse)), "its own key at renewal");
    let (other, hash) = (registration("/web"), desk.invite(&registration("/web"), 1).await);
    let ids = (machine_from(draw()), lineage_from(draw()), serial());
    let foreign = desk.redeem(&other, hash, &agent.key, ids).await.err();
    assert_eq!(foreign, Some(refused(LedgerRefusal::KeyInUse)), "another machine's key at enrollment");

    desk.revoke(countersign_store::Target::Serial(agent.serial)).await;
    let revoked = desk.redeem(&other, hash, &agent.key, ids).await.err();
    assert_eq!(revoked, Some(refused(LedgerRefusal::KeyInUse)), "revoked is not expired");

    let later = desk.at(noon() + HOUR * 2);
    let hash = later.invite(&other, 1).await;
    agent = later.enroll_by(&other, hash, agent.key).await.unwrap();
    assert!(book.issuance(agent.serial).unwrap().is_some(), "an expired one stands in nobody's way");
}

/// Invariant 3: a name taken away between the approval and the record is not certified.
pub(crate) async fn a_registration_that_lost_a_name_since_the_approval_is_refused(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut wide = registration("/payments");
    wide.dns = vec!["a.example".parse().unwrap(), "b.example".parse().unwrap()];
    let agent = desk.enroll(&wide).await;
    let mut narrow = wide.clone();
    narrow.dns.pop();
    book.import_registrations(vec![narrow], false, crate::agent::OPERATOR, noon()).await.unwrap();
    let late = desk.ask(&agent, &key(), serial()).await.err();
    assert_eq!(late, Some(refused(LedgerRefusal::RegistrationChanged)));
}

/// Invariant 2.
pub(crate) async fn a_serial_is_never_given_twice(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let twice = desk.ask(&agent, &key(), agent.serial).await.err();
    assert_eq!(twice, Some(refused(LedgerRefusal::SerialTaken)));
    let registration = registration("/web");
    let hash = desk.invite(&registration, 1).await;
    for ids in [
        (machine_from(draw()), lineage_from(draw()), agent.serial),
        (agent.machine, lineage_from(draw()), serial()),
        (machine_from(draw()), agent.lineage, serial()),
    ] {
        let taken = desk.redeem(&registration, hash, &key(), ids).await.err();
        assert_eq!(taken, Some(refused(LedgerRefusal::SerialTaken)));
    }
    let own = authority().prepare_own(&key(), agent.serial, noon());
    let taken = own.record(book, countersign_issuance::Act::Own).await.err();
    assert_eq!(taken, Some(refused(LedgerRefusal::SerialTaken)));
}

pub(crate) async fn an_enrollment_replaces_the_machine_before_unless_there_may_be_many(book: &Book) {
    let desk = Desk { book, now: noon() };
    let old = desk.enroll(&registration("/payments")).await;
    let trust = desk.trust();
    let new = desk.enroll(&registration("/payments")).await;
    assert_eq!(desk.machine(&old).status, MachineStatus::Replaced);
    assert_eq!(desk.machine(&new).status, MachineStatus::Active);
    assert!(desk.is_listed(old.serial) && !desk.is_listed(new.serial));
    assert!(desk.trust() > trust);
    let refusal = desk.ask(&old, &key(), serial()).await.err();
    assert_eq!(refusal, Some(refused(LedgerRefusal::MachineReplaced)));
}

pub(crate) async fn the_cas_own_certificate_is_recorded_without_a_machine(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (key, own) = (key(), serial());
    let prepared = authority().prepare_own(&key, own, noon());
    desk.sign(prepared.record(book, countersign_issuance::Act::Own).await.unwrap()).await;
    let standing = book.standing(own).unwrap().unwrap();
    assert_eq!((standing.machine, standing.registration), (None, None));
    assert!(standing.issuance.signed);
    let again =
        authority().prepare_own(&key, serial(), noon()).record(book, countersign_issuance::Act::Own).await;
    assert_eq!(again.err(), Some(refused(LedgerRefusal::KeyInUse)));
}

pub(crate) async fn a_refused_command_leaves_nothing(book: &Book) {
    let desk = Desk { book, now: noon() };
    let registration = registration("/payments");
    let hash = desk.invite(&registration, 1).await;
    desk.enroll_by(&registration, hash, key()).await.unwrap();
    let (counts, events) = (book.counts().unwrap(), desk.kinds());
    desk.enroll_by(&registration, hash, key()).await.err().unwrap();
    assert_eq!(book.counts().unwrap(), counts);
    assert_eq!(desk.kinds(), events);
}

//! Lineages: confirmed, pending, superseded, older, and what two holders look like.

use countersign_issuance::{LedgerError, LedgerRefusal, OnClone, Registration, Source};
use countersign_store::{
    Actor, Book, Cause, Door, LineageState, MachineStatus, Order, Presentation, Store, Whom,
};

use crate::agent::{Agent, Desk, OPERATOR, renewal, source};
use crate::house::{HOUR, MINUTE, key, noon, registration, serial};

const fn refused(why: LedgerRefusal) -> LedgerError {
    LedgerError::Refused(why)
}

fn state(book: &Book, serial: countersign_identity::Serial) -> LineageState {
    book.standing(serial).unwrap().unwrap().lineage.unwrap()
}

pub(crate) async fn a_renewal_is_pending_until_it_is_presented(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let old = desk.renew(&mut agent).await.unwrap();
    let machine = desk.machine(&agent);
    assert_eq!((machine.confirmed.serial, machine.pending.unwrap().serial), (old, agent.serial));
    assert_eq!(
        (state(book, old), state(book, agent.serial)),
        (LineageState::Confirmed, LineageState::Pending)
    );

    let shown = desk.present(agent.serial, Door::Other).await;
    assert_eq!(shown, Presentation::Confirmed { machine: agent.machine });
    let machine = desk.machine(&agent);
    assert_eq!((machine.confirmed.serial, machine.pending), (agent.serial, None));
    assert_eq!((state(book, old), state(book, agent.serial)), (LineageState::Older, LineageState::Confirmed));
    assert_eq!(
        desk.present(agent.serial, Door::Other).await,
        Presentation::Current { machine: agent.machine }
    );
}

pub(crate) async fn renewing_with_the_pending_certificate_confirms_it_in_the_same_step(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    desk.renew(&mut agent).await.unwrap();
    let second = agent.serial;
    desk.renew(&mut agent).await.unwrap();
    let machine = desk.machine(&agent);
    assert_eq!((machine.confirmed.serial, machine.pending.unwrap().serial), (second, agent.serial));
    assert_eq!(machine.superseded, 0);
}

pub(crate) async fn the_same_new_key_finds_its_pending_certificate(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let (new_key, pending) = (key(), serial());
    let recorded = desk.ask(&agent, &new_key, pending).await.unwrap();
    desk.sign(recorded).await;
    let found = book.standing(agent.serial).unwrap().unwrap().pending.unwrap();
    assert_eq!((found.serial, found.key_hash), (pending, crate::house::key_hash(&new_key)));
    assert!(book.issuance(found.serial).unwrap().unwrap().certificate.is_some());
    let again = desk.ask(&agent, &new_key, serial()).await.err();
    assert_eq!(
        again,
        Some(refused(LedgerRefusal::KeyInUse)),
        "it is kept: no second certificate for this key"
    );
}

pub(crate) async fn a_lost_pending_certificate_is_replaced_for_the_same_key_and_accuses_nobody(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let (new_key, lost, second) = (key(), serial(), serial());
    desk.ask(&agent, &new_key, lost).await.unwrap();
    desk.ask(&agent, &new_key, second).await.unwrap();
    assert_eq!(desk.machine(&agent).pending.unwrap().serial, second);
    assert_eq!(desk.machine(&agent).superseded, 0);
    assert!(!desk.is_listed(lost), "abandoned is not revoked");
    let shown = desk.present(lost, renewal(OnClone::Suspend, source())).await;
    assert_eq!(shown, Presentation::Confirmed { machine: agent.machine }, "one key is one holder");
    let revoked = desk.revoke(countersign_store::Target::Key(crate::house::key_hash(&new_key))).await;
    assert_eq!(revoked.len(), 2, "the abandoned one is revocable");
}

pub(crate) async fn another_new_key_supersedes_the_pending_one_three_times_at_most(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let mut asked = Vec::new();
    for _ in 0..4 {
        let trust = desk.trust();
        let (before, new) = (asked.last().copied(), serial());
        desk.ask(&agent, &key(), new).await.unwrap();
        if let Some(before) = before {
            assert!(desk.is_listed(before));
            assert_eq!(state(book, before), LineageState::Superseded);
            assert_eq!(desk.trust(), trust + 1);
        }
        asked.push(new);
    }
    assert_eq!(desk.kinds().iter().filter(|kind| *kind == "lineage.superseded").count(), 3);
    let fifth = desk.ask(&agent, &key(), serial()).await.err();
    assert_eq!(fifth, Some(refused(LedgerRefusal::TooManyPending)));
    assert!(!desk.is_listed(*asked.last().unwrap()), "the refused one superseded nothing");

    desk.present(*asked.last().unwrap(), Door::Other).await;
    let confirmed = Agent { serial: *asked.last().unwrap(), ..agent };
    desk.ask(&confirmed, &key(), serial()).await.unwrap();
    desk.ask(&confirmed, &key(), serial()).await.unwrap();
}

pub(crate) async fn two_parallel_renewals_leave_one_pending_certificate(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let (one, other) = (serial(), serial());
    let (first_key, other_key) = (key(), key());
    let (a, b) = tokio::join!(desk.ask(&agent, &first_key, one), desk.ask(&agent, &other_key, other));
    assert!(a.is_ok() && b.is_ok());
    let pending = desk.machine(&agent).pending.unwrap().serial;
    let given_up = if pending == one { other } else { one };
    assert!(desk.is_listed(given_up) && !desk.is_listed(pending));
}

async fn cloned(desk: &Desk<'_>, on_clone: OnClone, older: bool) -> (Agent, Presentation) {
    let mut agent = desk.enroll(&registration("/payments")).await;
    let thief = if older {
        let old = desk.renew(&mut agent).await.unwrap();
        desk.present(agent.serial, Door::Other).await;
        old
    } else {
        let given_up = serial();
        desk.ask(&agent, &key(), given_up).await.unwrap();
        desk.renew(&mut agent).await.unwrap();
        given_up
    };
    let elsewhere = Source { addr: Some("203.0.113.66".parse().unwrap()) };
    let shown = desk.present(thief, renewal(on_clone, elsewhere)).await;
    (agent, shown)
}

pub(crate) async fn an_older_certificate_at_renewal_suspends_the_machine(book: &Book) {
    let desk = Desk { book, now: noon() };
    let trust = desk.trust();
    let (agent, shown) = cloned(&desk, OnClone::Suspend, true).await;
    assert_eq!(shown, Presentation::Clone { machine: agent.machine, action: OnClone::Suspend });
    assert_eq!(desk.machine(&agent).status, MachineStatus::Suspended);
    assert!(desk.is_listed(agent.serial));
    assert!(desk.trust() > trust);
    let event = book.events(0, 100).unwrap().pop().unwrap();
    let sources: Vec<_> = event.personal.iter().map(|p| (p.field.as_str(), p.value.as_str())).collect();
    assert_eq!(sources, [("last_source", "192.0.2.7"), ("source", "203.0.113.66")], "both holders");
}

pub(crate) async fn a_superseded_certificate_at_renewal_is_a_clone_too(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (agent, shown) = cloned(&desk, OnClone::Suspend, false).await;
    assert_eq!(shown, Presentation::Clone { machine: agent.machine, action: OnClone::Suspend });
    assert_eq!(desk.machine(&agent).status, MachineStatus::Suspended);
}

pub(crate) async fn a_clone_that_is_only_reported_changes_nothing(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (mut agent, shown) = cloned(&desk, OnClone::Report, true).await;
    assert_eq!(shown, Presentation::Clone { machine: agent.machine, action: OnClone::Report });
    assert_eq!(desk.kinds().last().unwrap(), "lineage.clone");
    desk.renew(&mut agent).await.unwrap();
}

pub(crate) async fn a_clone_holds_the_machine_until_it_is_approved(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (mut agent, _) = cloned(&desk, OnClone::Hold, true).await;
    assert_eq!(desk.renew(&mut agent).await.err(), Some(refused(LedgerRefusal::MachineHeld)));
    assert!(!desk.is_listed(agent.serial), "its certificates stand");
    let shown = desk.present(agent.serial, Door::Other).await;
    assert_eq!(shown, Presentation::Current { machine: agent.machine });
    let whom = Whom::Machine(agent.machine);
    book.order(Order::Approve, whom, "looked at it".into(), OPERATOR, noon()).await.unwrap();
    desk.renew(&mut agent).await.unwrap();
}

pub(crate) async fn an_expired_certificate_is_told_of_and_never_suspends(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let backup = desk.renew(&mut agent).await.unwrap();
    let later = desk.at(noon() + HOUR * 2);
    let shown = later.present(backup, renewal(OnClone::Suspend, source())).await;
    assert!(matches!(shown, Presentation::Expired { .. }), "{shown:?}");
    assert_eq!(desk.kinds().last().unwrap(), "lineage.expired_presented");
    assert_eq!(desk.machine(&agent).status, MachineStatus::Active);
    let refusal = later.renew(&mut agent).await.err();
    assert_eq!(refusal, Some(refused(LedgerRefusal::LineageMoved)), "nor does it renew");
}

pub(crate) async fn other_doors_accept_older_certificates_and_never_accuse(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let old = desk.renew(&mut agent).await.unwrap();
    desk.present(agent.serial, Door::Other).await;
    let events = desk.kinds();
    assert_eq!(desk.present(old, Door::Other).await, Presentation::Older { machine: agent.machine });
    let given_up = serial();
    desk.ask(&agent, &key(), given_up).await.unwrap();
    desk.renew(&mut agent).await.unwrap();
    let shown = desk.present(given_up, Door::Other).await;
    assert_eq!(shown, Presentation::Revoked { cause: Cause::Superseded });
    assert_eq!(desk.present(serial(), Door::Other).await, Presentation::Unknown);
    assert!(!desk.kinds()[events.len()..].contains(&"lineage.clone".to_owned()));
}

pub(crate) async fn a_restored_copy_cannot_renew_behind_the_machines_back(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let old = desk.renew(&mut agent).await.unwrap();
    desk.present(agent.serial, Door::Other).await;
    let copy = Agent { serial: old, ..agent };
    let refusal = desk.ask(&copy, &key(), serial()).await.err();
    assert_eq!(refusal, Some(refused(LedgerRefusal::LineageMoved)));
}

/// Invariant 3.
pub(crate) async fn a_renewal_needs_the_registration_as_it_stands_now(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let house = Actor::House;
    let import =
        |changed: Registration| book.import_registrations(vec![changed], false, house.clone(), noon());
    import(Registration { profile: "gateway".into(), ..registration("/payments") }).await.unwrap();
    assert_eq!(
        desk.renew(&mut agent).await.err(),
        Some(refused(LedgerRefusal::RegistrationGone)),
        "another profile"
    );
    import(Registration { until: Some(noon() + MINUTE), ..registration("/payments") }).await.unwrap();
    assert_eq!(
        desk.renew(&mut agent).await.err(),
        Some(refused(LedgerRefusal::RegistrationGone)),
        "ends before"
    );
    import(registration("/payments")).await.unwrap();
    desk.renew(&mut agent).await.unwrap();
    book.remove_registration(agent.registration.id.clone(), house.clone(), noon()).await.unwrap();
    assert_eq!(desk.renew(&mut agent).await.err(), Some(refused(LedgerRefusal::RegistrationGone)), "removed");
}

pub(crate) async fn only_the_machines_own_lineage_renews_it(book: &Book) {
    let desk = Desk { book, now: noon() };
    let payments = desk.enroll(&registration("/payments")).await;
    let web = desk.enroll(&registration("/web")).await;
    let (new_key, new) = (key(), serial());
    let foreign = Agent { serial: web.serial, ..payments };
    let refusal = desk.ask(&foreign, &new_key, new).await.err();
    assert_eq!(refusal, Some(refused(LedgerRefusal::LineageMoved)), "another machine's certificate");
    let stranger = Agent { machine: crate::house::machine_from(u64::MAX), ..web };
    let refusal = desk.ask(&stranger, &new_key, new).await.err();
    assert_eq!(refusal, Some(refused(LedgerRefusal::MachineUnknown)));
}

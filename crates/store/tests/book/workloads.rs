//! Workloads: identities under a machine, which fall with it.

use std::sync::Arc;

use countersign_identity::{Lineage, MachineId, Serial, Timestamp};
use countersign_issuance::{Act, LedgerError, LedgerRefusal, Registration};
use countersign_store::engine::{Change, Engine, MemoryEngine};
use countersign_store::{
    Book, Door, Event, MachineStatus, Order, PermissionUse, Presentation, Store, Target, Whom,
};
use rcgen::KeyPair;

use crate::agent::{Agent, Desk, OPERATOR, source};
use crate::house::{
    HOUR, MINUTE, authority, draw, key, lineage_from, machine_from, noon, registration, serial,
};

const fn refused(why: LedgerRefusal) -> Option<LedgerError> {
    Some(LedgerError::Refused(why))
}

fn under(parent: &Agent, path: &str) -> Registration {
    Registration {
        parent: Some(parent.registration.id.clone()),
        selectors: vec!["unix:uid:1001".into()],
        ..registration(path)
    }
}

async fn register(desk: &Desk<'_>, one: &Registration) {
    desk.book.import_registrations(vec![one.clone()], false, OPERATOR, desk.now).await.unwrap();
}

struct Fetched {
    machine: MachineId,
    lineage: Lineage,
    serial: Serial,
}

async fn fetch(
    desk: &Desk<'_>,
    parent: MachineId,
    one: &Registration,
    key: &KeyPair,
    known: Option<&Fetched>,
) -> Result<Fetched, LedgerError> {
    let machine = known.map_or_else(|| machine_from(draw()), |known| known.machine);
    let lineage = known.map_or_else(|| lineage_from(draw()), |known| known.lineage);
    let serial = serial();
    let prepared = authority().prepare(one, key, serial, lineage, desk.now);
    let act = Act::Workload { parent, workload: machine, source: source() };
    desk.sign(prepared.record(desk.book, act).await?).await;
    Ok(Fetched { machine, lineage, serial })
}

pub(crate) async fn a_machine_fetches_certificates_for_its_workloads_in_one_lineage(book: &Book) {
    let desk = Desk { book, now: noon() };
    let host = desk.enroll(&registration("/host")).await;
    let api = under(&host, "/api");
    register(&desk, &api).await;
    let first = fetch(&desk, host.machine, &api, &key(), None).await.unwrap();
    let second = fetch(&desk, host.machine, &api, &key(), Some(&first)).await.unwrap();
    let workload = book.workload(host.machine, &api.id).unwrap().unwrap();
    assert_eq!(
        (workload.id, workload.lineage, workload.parent),
        (first.machine, first.lineage, Some(host.machine))
    );
    for one in [&first, &second] {
        assert!(matches!(
            desk.present(one.serial, Door::Other).await,
            Presentation::Current { .. } | Presentation::Older { .. }
        ));
    }
    let (lost_key, lost) = (key(), serial());
    for serial in [lost, serial()] {
        let prepared = authority().prepare(&api, &lost_key, serial, first.lineage, desk.now);
        let act = Act::Workload { parent: host.machine, workload: first.machine, source: source() };
        assert!(
            prepared.record(book, act).await.is_ok(),
            "recorded and never signed: it may be asked for again"
        );
    }
    let other = fetch(&desk, host.machine, &api, &key(), None).await.err();
    assert_eq!(other, refused(LedgerRefusal::LineageMoved), "one lineage for a workload at a machine");
}

pub(crate) async fn only_the_parent_fetches_and_only_machines_do(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (host, other) =
        (desk.enroll(&registration("/host")).await, desk.enroll(&registration("/other")).await);
    let api = under(&host, "/api");
    register(&desk, &api).await;
    let foreign = refused(LedgerRefusal::NotItsWorkload);
    assert_eq!(fetch(&desk, other.machine, &api, &key(), None).await.err(), foreign);
    let plain = registration("/plain");
    register(&desk, &plain).await;
    assert_eq!(fetch(&desk, host.machine, &plain, &key(), None).await.err(), foreign);

    let fetched = fetch(&desk, host.machine, &api, &key(), None).await.unwrap();
    let below = Registration { parent: Some(api.id.clone()), ..registration("/below") };
    register(&desk, &below).await;
    let is_workload = refused(LedgerRefusal::IsWorkload);
    assert_eq!(fetch(&desk, fetched.machine, &below, &key(), None).await.err(), is_workload);
    let by_invitation = desk.try_invite(&api, 1).await.unwrap().1;
    assert!(!by_invitation.invited, "nothing that a stranger could redeem");
    let prepared = authority().prepare(&api, &key(), serial(), fetched.lineage, desk.now);
    let act = Act::Renew { machine: fetched.machine, presented: fetched.serial, source: source() };
    assert_eq!(prepared.record(book, act).await.err(), is_workload);
}

pub(crate) async fn workloads_fall_with_their_machine(book: &Book) {
    let desk = Desk { book, now: noon() };
    let host = desk.enroll(&registration("/host")).await;
    let api = under(&host, "/api");
    register(&desk, &api).await;
    let fetched = fetch(&desk, host.machine, &api, &key(), None).await.unwrap();
    let whom = Whom::Machine(host.machine);

    book.order(Order::Suspend, whom.clone(), String::new(), OPERATOR, desk.now).await.unwrap();
    assert!(desk.is_listed(fetched.serial));
    let suspended = Presentation::NotActive { machine: fetched.machine, status: MachineStatus::Suspended };
    assert_eq!(desk.present(fetched.serial, Door::Other).await, suspended);
    let why = fetch(&desk, host.machine, &api, &key(), Some(&fetched)).await.err();
    assert_eq!(why, refused(LedgerRefusal::MachineSuspended));
    book.order(Order::Resume, whom, String::new(), OPERATOR, desk.now).await.unwrap();
    assert!(!desk.is_listed(fetched.serial));

    let revoked = desk.revoke(Target::Machine(host.machine)).await;
    assert!(revoked.contains(&fetched.serial) && revoked.contains(&host.serial));
    assert_eq!(book.workloads(host.machine).unwrap(), [], "what has ended is none");
    assert!(desk.is_listed(fetched.serial));
    assert_eq!(book.machine(fetched.machine).unwrap().unwrap().status, MachineStatus::Revoked);
}

pub(crate) async fn a_machine_enrolled_anew_takes_its_workloads_along(book: &Book) {
    let desk = Desk { book, now: noon() };
    let host = desk.enroll(&registration("/host")).await;
    let api = under(&host, "/api");
    register(&desk, &api).await;
    let old = fetch(&desk, host.machine, &api, &key(), None).await.unwrap();
    let anew = desk.enroll(&registration("/host")).await;
    assert!(desk.is_listed(old.serial));
    let new = fetch(&desk, anew.machine, &api, &key(), None).await.unwrap();
    assert_ne!(new.machine, old.machine);
    let workloads = book.workloads(anew.machine).unwrap();
    assert_eq!(workloads.iter().map(|one| one.id).collect::<Vec<_>>(), [new.machine]);
    assert!(!desk.is_listed(new.serial));
}

pub(crate) async fn a_suspended_workload_stays_so_when_its_machine_resumes(book: &Book) {
    let desk = Desk { book, now: noon() };
    let host = desk.enroll(&registration("/host")).await;
    let api = under(&host, "/api");
    register(&desk, &api).await;
    let fetched = fetch(&desk, host.machine, &api, &key(), None).await.unwrap();
    for id in [fetched.machine, host.machine] {
        book.order(Order::Suspend, Whom::Machine(id), String::new(), OPERATOR, desk.now).await.unwrap();
    }
    book.order(Order::Resume, Whom::Machine(host.machine), String::new(), OPERATOR, desk.now).await.unwrap();
    assert!(desk.is_listed(fetched.serial));
    book.order(Order::Resume, Whom::Machine(fetched.machine), String::new(), OPERATOR, desk.now)
        .await
        .unwrap();
    assert!(!desk.is_listed(fetched.serial));

    for id in [fetched.machine, host.machine] {
        book.order(Order::Suspend, Whom::Machine(id), String::new(), OPERATOR, desk.now).await.unwrap();
    }
    book.order(Order::Resume, Whom::Machine(fetched.machine), String::new(), OPERATOR, desk.now)
        .await
        .unwrap();
    assert!(desk.is_listed(fetched.serial), "its machine is suspended still");
    book.order(Order::Resume, Whom::Machine(host.machine), String::new(), OPERATOR, desk.now).await.unwrap();
    assert!(!desk.is_listed(fetched.serial));
}

pub(crate) async fn a_parent_learns_of_each_change_of_what_is_under_it(book: &Book) {
    let desk = Desk { book, now: noon() };
    let host = desk.enroll(&registration("/host")).await;
    let (id, sequence) = (host.registration.id.clone(), book.children_sequence());
    assert_eq!(book.children(&id).unwrap(), (0, vec![]));
    let api = under(&host, "/api");
    register(&desk, &api).await;
    let (first, listed) = book.children(&id).unwrap();
    assert_eq!((listed.len(), &listed[0].id, *sequence.borrow()), (1, &api.id, first));
    register(&desk, &registration("/unrelated")).await;
    assert_eq!(*sequence.borrow(), first, "it concerns no parent");
    register(&desk, &Registration { selectors: vec!["unix:uid:7".into()], ..api.clone() }).await;
    let (second, listed) = book.children(&id).unwrap();
    assert!(second > first && listed[0].selectors == ["unix:uid:7"]);
    register(&desk, &Registration { parent: None, selectors: vec![], ..api.clone() }).await;
    let (third, listed) = book.children(&id).unwrap();
    assert!(third > second && listed.is_empty());
    assert_eq!(book.children_changed(&id).unwrap(), third);
}

pub(crate) async fn a_use_is_kept_to_the_hour_and_for_a_quarter(book: &Book) {
    let used = |at: Timestamp| PermissionUse {
        spiffe_id: "spiffe://prod.example/a".parse().unwrap(),
        permission: "ledger:read".into(),
        last: at,
    };
    for at in [noon(), noon() + 10 * MINUTE] {
        book.report(vec![Event::new("decision.allowed", at)], vec![used(at)]).await.unwrap();
    }
    assert_eq!(book.uses(None, 10).unwrap().items, [used(noon())]);
    book.report(vec![], vec![used(noon() + 2 * HOUR)]).await.unwrap();
    assert_eq!(book.uses(None, 10).unwrap().items, [used(noon() + 2 * HOUR)]);
    book.expire(noon() + 100 * 24 * HOUR).await.unwrap();
    assert_eq!(book.uses(None, 10).unwrap().items.len(), 1);
    book.expire(noon() + 101 * 24 * HOUR).await.unwrap();
    assert_eq!(book.uses(None, 10).unwrap().items, []);
}

#[tokio::test]
async fn a_book_from_before_there_was_an_index_of_parents_gets_one() {
    let engine = Arc::new(MemoryEngine::new());
    let id = {
        let book = Book::on(engine.clone(), crate::options()).unwrap();
        let desk = Desk { book: &book, now: noon() };
        let host = desk.enroll(&registration("/host")).await;
        register(&desk, &under(&host, "/api")).await;
        host.registration.id
    };
    let index = [engine.scan(b"c", b"d", 10).unwrap(), engine.scan(b"Xchildren", b"Xchildrez", 10).unwrap()];
    let removals: Vec<Change> =
        index.concat().into_iter().map(|(key, old)| Change { key, old: Some(old), new: None }).collect();
    assert_eq!(removals.len(), 2);
    engine.apply(&removals).unwrap();
    let book = Book::on(engine, crate::options()).unwrap();
    assert_eq!(book.children(&id).unwrap().1.len(), 1);
}

//! Revocation: every way of naming what must no longer be believed.

use std::collections::BTreeSet;

use countersign_identity::Serial;
use countersign_issuance::{LedgerError, LedgerRefusal, Machines, Registration};
use countersign_store::{
    Book, Cause, Door, MachineFilter, MachineStatus, Order, Presentation, Refusal, Relisted, Store,
    StoreError, Target, Whom,
};

use crate::agent::{Agent, Desk, OPERATOR};
use crate::house::{HOUR, noon, registration};

const fn refused(why: LedgerRefusal) -> LedgerError {
    LedgerError::Refused(why)
}

pub(crate) async fn a_revoked_machine_is_listed_and_never_renews_again(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let old = desk.renew(&mut agent).await.unwrap();
    let trust = desk.trust();
    let mut serials = desk.revoke(Target::Machine(agent.machine)).await;
    serials.sort();
    assert_eq!(serials, [old, agent.serial]);
    assert!(desk.is_listed(old) && desk.is_listed(agent.serial));
    assert_eq!(desk.trust(), trust + 1);
    assert_eq!(desk.machine(&agent).status, MachineStatus::Revoked);
    assert_eq!(desk.renew(&mut agent).await.err(), Some(refused(LedgerRefusal::CertificateRevoked)));
    let shown = desk.present(agent.serial, Door::Other).await;
    assert_eq!(shown, Presentation::NotActive { machine: agent.machine, status: MachineStatus::Revoked });
    let issuance = book.issuance(old).unwrap().unwrap().issuance;
    assert_eq!(issuance.revoked.unwrap().cause, Cause::Ordered);
    let again = book.revoke(Target::Machine(agent.machine), String::new(), false, OPERATOR, noon()).await;
    assert!(matches!(again, Err(StoreError::Refused(Refusal::NothingToRevoke { .. }))));
}

pub(crate) async fn a_revoked_serial_ends_that_certificate_and_not_its_machine(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    assert_eq!(desk.revoke(Target::Serial(agent.serial)).await, [agent.serial]);
    let shown = desk.present(agent.serial, Door::Other).await;
    assert_eq!(shown, Presentation::Revoked { cause: Cause::Ordered });
    assert_eq!(desk.machine(&agent).status, MachineStatus::Active);
    assert_eq!(desk.renew(&mut agent).await.err(), Some(refused(LedgerRefusal::CertificateRevoked)));
}

/// Whoever stole a key may have renewed with it: the order reaches what came of the certificate, not what came before.
pub(crate) async fn a_revoked_serial_or_key_takes_along_what_was_renewed_from_it(book: &Book) {
    let desk = Desk { book, now: noon() };
    for by_key in [false, true] {
        let mut agent = desk.enroll(&registration(if by_key { "/key" } else { "/serial" })).await;
        let later = Desk { book, now: noon() + std::time::Duration::from_secs(60) };
        let first = later.renew(&mut agent).await.unwrap();
        let key = agent.key_hash();
        let stolen = later.renew(&mut agent).await.unwrap();
        let middle = later.renew(&mut agent).await.unwrap();
        let target = if by_key { Target::Key(key) } else { Target::Serial(stolen) };
        let mut expected = [stolen, middle, agent.serial];
        expected.sort();
        let mut revoked = later.revoke(target).await;
        revoked.sort();
        assert_eq!(revoked, expected);
        assert!(!later.is_listed(first), "it was had before, from another key");
        assert_eq!(later.renew(&mut agent).await.err(), Some(refused(LedgerRefusal::CertificateRevoked)));
    }
}

pub(crate) async fn a_revoked_pending_serial_leaves_the_confirmed_one_its_renewals(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let pending = revoked_pending(&desk, &mut agent).await;
    assert!(desk.is_listed(pending) && !desk.is_listed(agent.serial));
    desk.renew(&mut agent).await.unwrap();
}

/// Revokes a certificate that the agent asked for and never presented.
async fn revoked_pending(desk: &Desk<'_>, agent: &mut Agent) -> Serial {
    let (confirmed, key) = (agent.serial, agent.key.serialize_der());
    desk.renew(agent).await.unwrap();
    assert_eq!(desk.revoke(Target::Serial(agent.serial)).await, [agent.serial]);
    agent.key = rcgen::KeyPair::try_from(key).unwrap();
    std::mem::replace(&mut agent.serial, confirmed)
}

pub(crate) async fn lineages_keys_and_identities_are_revoked_with_all_they_have(book: &Book) {
    let desk = Desk { book, now: noon() };
    let many = Registration { machines: Machines::Many, ..registration("/web") };
    let hash = desk.invite(&many, 4).await;
    let mut agents = Vec::new();
    for _ in 0..4 {
        agents.push(desk.enroll_by(&many, hash, crate::house::key()).await.unwrap());
    }
    assert_eq!(desk.revoke(Target::Lineage(agents[0].lineage)).await, [agents[0].serial]);
    assert_eq!(desk.machine(&agents[0]).status, MachineStatus::Revoked);
    assert_eq!(desk.revoke(Target::Key(agents[1].key_hash())).await, [agents[1].serial]);
    assert_eq!(desk.machine(&agents[1]).status, MachineStatus::Active);
    let mut rest = desk.revoke(Target::Identity(many.id.clone())).await;
    rest.sort();
    assert_eq!(rest, [agents[2].serial, agents[3].serial]);
    let revoked = MachineFilter { status: Some(MachineStatus::Revoked), identity: Some(many.id) };
    assert_eq!(book.machines(&revoked, None, 10).unwrap().items.len(), 4);
}

pub(crate) async fn a_dry_run_says_what_would_be_revoked_and_revokes_nothing(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let (events, trust) = (desk.kinds(), desk.trust());
    let would =
        book.revoke(Target::Machine(agent.machine), String::new(), true, OPERATOR, noon()).await.unwrap();
    assert_eq!((would.serials, would.machines), (vec![agent.serial], vec![agent.machine]));
    assert!(!desk.is_listed(agent.serial));
    assert_eq!((desk.kinds(), desk.trust()), (events, trust));
}

pub(crate) async fn what_is_unknown_or_expired_cannot_be_revoked(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    let later = noon() + HOUR * 2;
    let none =
        book.revoke(Target::Serial(agent.serial), String::new(), false, OPERATOR, later).await.unwrap_err();
    assert_eq!(none.to_string(), format!("no live certificate has the serial {}", agent.serial));
    let stranger = crate::house::machine_from(u64::MAX);
    let none =
        book.revoke(Target::Machine(stranger), String::new(), false, OPERATOR, noon()).await.unwrap_err();
    assert_eq!(none, StoreError::Refused(Refusal::MachineUnknown { id: stranger }));
}

/// Invariant 5: a key that leaked is dead, however old its last certificate is.
pub(crate) async fn a_revoked_key_is_never_certified_again(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    desk.revoke(Target::Key(crate::house::key_hash(&agent.key))).await;
    let later = desk.at(noon() + HOUR * 2);
    let other = registration("/web");
    let hash = later.invite(&other, 1).await;
    let again = later.enroll_by(&other, hash, agent.key).await.err();
    assert_eq!(again, Some(refused(LedgerRefusal::KeyRevoked)));

    let unseen = crate::house::key();
    let nothing = book.revoke(
        Target::Key(crate::house::key_hash(&unseen)),
        "leaked".into(),
        false,
        OPERATOR,
        later.now,
    );
    assert!(nothing.await.unwrap().serials.is_empty());
    let refused_key = later.enroll_by(&other, hash, unseen).await.err();
    assert_eq!(refused_key, Some(refused(LedgerRefusal::KeyRevoked)), "a key nobody has used yet");
}

pub(crate) async fn a_suspended_machine_is_listed_until_it_resumes(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let gone = revoked_pending(&desk, &mut agent).await;
    let trust = desk.trust();
    let whom = Whom::Machine(agent.machine);
    book.order(Order::Suspend, whom.clone(), "lost".into(), OPERATOR, noon()).await.unwrap();
    assert!(desk.is_listed(agent.serial));
    assert_eq!(desk.trust(), trust + 1);
    assert_eq!(desk.renew(&mut agent).await.err(), Some(refused(LedgerRefusal::MachineSuspended)));
    let twice = book.order(Order::Suspend, whom.clone(), String::new(), OPERATOR, noon()).await.unwrap_err();
    assert!(matches!(twice, StoreError::Refused(Refusal::WrongStatus { .. })), "{twice}");

    book.order(Order::Resume, whom, "found".into(), OPERATOR, noon()).await.unwrap();
    assert!(!desk.is_listed(agent.serial));
    assert!(desk.is_listed(gone), "resuming never un-revokes");
    assert_eq!(desk.trust(), trust + 2);
    desk.renew(&mut agent).await.unwrap();
}

pub(crate) async fn a_removed_machine_is_revoked_and_gone_for_good(book: &Book) {
    let desk = Desk { book, now: noon() };
    let mut agent = desk.enroll(&registration("/payments")).await;
    let whom = Whom::Identity(agent.registration.id.clone());
    let removed = book.order(Order::Remove, whom.clone(), String::new(), OPERATOR, noon()).await.unwrap();
    assert_eq!(removed, [agent.machine]);
    assert!(desk.is_listed(agent.serial));
    assert_eq!(desk.renew(&mut agent).await.err(), Some(refused(LedgerRefusal::MachineRemoved)));
    let back = book.order(Order::Resume, whom, String::new(), OPERATOR, noon()).await.unwrap_err();
    assert!(matches!(back, StoreError::Refused(Refusal::WrongStatus { found: MachineStatus::Removed, .. })));
    let nobody = Whom::Identity(registration("/nobody").id);
    let none = book.order(Order::Suspend, nobody, String::new(), OPERATOR, noon()).await.unwrap_err();
    assert!(matches!(none, StoreError::Refused(Refusal::NoMachineOf { .. })));
}

/// What a follower holds after taking in every change behind what it knew.
fn followed(book: &Book, held: &mut BTreeSet<Serial>, known: u64) -> u64 {
    let state = book.trust_state(known).unwrap();
    for change in state.relisted.unwrap() {
        match change {
            Relisted::On(entry) => held.insert(entry.serial),
            Relisted::Off(serial) => held.remove(&serial),
        };
    }
    state.sequence
}

pub(crate) async fn whoever_follows_the_list_holds_the_list(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (first, second) =
        (desk.enroll(&registration("/payments")).await, desk.enroll(&registration("/web")).await);
    let mut held = BTreeSet::new();
    let mut known = followed(book, &mut held, 0);
    assert!(held.is_empty());
    desk.revoke(Target::Serial(first.serial)).await;
    known = followed(book, &mut held, known);
    assert_eq!(held, BTreeSet::from([first.serial]));
    let whom = Whom::Machine(second.machine);
    book.order(Order::Suspend, whom.clone(), String::new(), OPERATOR, noon()).await.unwrap();
    known = followed(book, &mut held, known);
    assert_eq!(held, BTreeSet::from([first.serial, second.serial]));
    book.order(Order::Resume, whom, String::new(), OPERATOR, noon()).await.unwrap();
    known = followed(book, &mut held, known);
    assert_eq!(held, BTreeSet::from([first.serial]));
    assert_eq!(known, desk.trust());
    assert_eq!(book.trust_state(known).unwrap().relisted, Some(Vec::new()));
    desk.enroll(&registration("/web")).await;
    followed(book, &mut held, known);
    assert_eq!(held, BTreeSet::from([first.serial, second.serial]), "an enrollment replaced the machine");
}

pub(crate) async fn whoever_is_far_behind_reads_the_list_anew(book: &Book) {
    let desk = Desk { book, now: noon() };
    let agent = desk.enroll(&registration("/payments")).await;
    desk.revoke(Target::Serial(agent.serial)).await;
    let whom = Whom::Machine(agent.machine);
    for _ in 0..150 {
        book.order(Order::Suspend, whom.clone(), String::new(), OPERATOR, noon()).await.unwrap();
        book.order(Order::Resume, whom.clone(), String::new(), OPERATOR, noon()).await.unwrap();
    }
    assert!(book.trust_state(0).unwrap().relisted.is_some());
    book.expire(noon()).await.unwrap();
    assert_eq!(book.trust_state(0).unwrap().relisted, None);
    let newest = desk.trust();
    assert_eq!(book.trust_state(newest - 1).unwrap().relisted.map(|changes| changes.len()), Some(0));
    assert!(desk.is_listed(agent.serial));
}

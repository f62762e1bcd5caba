//! Registrations: one identity, one set of names, no surprise changes.

use std::time::Duration;

use countersign_identity::{KeyHash, Timestamp};
use countersign_issuance::{Registration, TokenKey};
use countersign_store::{Actor, Book, Imported, Refusal, Store, StoreError};

use crate::agent::{Desk, OPERATOR};
use crate::house::{key, noon, registration};

fn named(path: &str, dns: &[&str], shared: bool) -> Registration {
    let dns = dns.iter().map(|name| name.parse().unwrap()).collect();
    Registration { dns, shared, ip: vec!["192.0.2.1".parse().unwrap()], ..registration(path) }
}

async fn import(
    book: &Book,
    registrations: Vec<Registration>,
    dry_run: bool,
) -> Result<Imported, StoreError> {
    book.import_registrations(registrations, dry_run, Actor::House, noon()).await
}

pub(crate) async fn an_invitation_that_differs_from_the_registration_names_the_difference(book: &Book) {
    let desk = Desk { book, now: noon() };
    let (_, invited) = desk.try_invite(&registration("/payments"), 1).await.unwrap();
    assert!(invited.registration_created);
    let (_, again) = desk.try_invite(&registration("/payments"), 1).await.unwrap();
    assert!(!again.registration_created);
    let differing = Registration { profile: "gateway".into(), ..registration("/payments") };
    let refusal = desk.try_invite(&differing, 1).await.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "spiffe://prod.example/payments is registered otherwise: profile is workload, not gateway",
    );
    assert_eq!(book.registration(&differing.id).unwrap().unwrap().profile, "workload");
}

pub(crate) async fn a_name_belongs_to_one_identity_unless_both_share_it(book: &Book) {
    import(book, vec![named("/a", &["a.example"], false)], false).await.unwrap();
    let refusal = import(book, vec![named("/b", &["b.example"], true)], false).await.unwrap_err();
    let expected = Refusal::NameTaken { name: "192.0.2.1".into(), by: registration("/a").id };
    assert_eq!(refusal, StoreError::Refused(expected), "one of them does not share");
    import(book, vec![named("/a", &["a.example"], true)], false).await.unwrap();
    import(book, vec![named("/b", &["a.example"], true)], false).await.unwrap();
    assert_eq!(book.holders("a.example").unwrap(), [registration("/a").id, registration("/b").id]);
    let refusal = import(book, vec![named("/a", &["a.example"], false)], false).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused(Refusal::NameTaken { .. })), "no longer shared");
}

pub(crate) async fn a_changed_or_removed_registration_gives_its_names_back(book: &Book) {
    import(book, vec![named("/a", &["a.example", "b.example"], false)], false).await.unwrap();
    import(book, vec![named("/a", &["a.example"], false)], false).await.unwrap();
    assert_eq!(book.holders("b.example").unwrap(), []);
    book.remove_registration(registration("/a").id, OPERATOR, noon()).await.unwrap();
    import(book, vec![named("/b", &["a.example", "b.example"], false)], false).await.unwrap();
    let refusal = book.remove_registration(registration("/a").id, OPERATOR, noon()).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused(Refusal::RegistrationUnknown { .. })));
}

pub(crate) async fn an_import_changes_all_or_nothing_and_a_dry_run_nothing(book: &Book) {
    import(book, vec![registration("/same"), registration("/other")], false).await.unwrap();
    let changed = Registration { owner: Some("team".into()), ..registration("/other") };
    let file = vec![registration("/new"), registration("/same"), changed];
    let would = import(book, file.clone(), true).await.unwrap();
    let ids = |path: &str| vec![registration(path).id];
    let expected = Imported { created: ids("/new"), changed: ids("/other"), unchanged: ids("/same") };
    assert_eq!(would, expected);
    assert_eq!(book.registration(&registration("/new").id).unwrap(), None);
    let bad =
        [file.clone(), vec![named("/x", &["x.example"], false), named("/y", &["x.example"], false)]].concat();
    import(book, bad, false).await.unwrap_err();
    assert_eq!(book.counts().unwrap().registrations, 2);
    assert_eq!(import(book, file, false).await.unwrap(), expected);
    assert_eq!(book.counts().unwrap().registrations, 3);
}

pub(crate) async fn removing_a_registration_removes_its_invitations(book: &Book) {
    let desk = Desk { book, now: noon() };
    let registration = registration("/payments");
    let hash = desk.invite(&registration, 1).await;
    book.remove_registration(registration.id.clone(), OPERATOR, noon()).await.unwrap();
    desk.invite(&registration, 1).await;
    let refusal = desk.enroll_by(&registration, hash, key()).await.err().unwrap();
    assert_eq!(refusal, countersign_issuance::LedgerRefusal::InvitationUnknown.into());
    assert_eq!(book.counts().unwrap().invitations, 1);
}

pub(crate) async fn keys_of_a_registration_come_and_go_with_their_events(book: &Book) {
    let key = |id: &str, until: Timestamp| TokenKey {
        id: id.to_owned(),
        spki: id.as_bytes().to_vec(),
        until,
        owner: Some("ci".to_owned()),
        under: KeyHash::from_bytes([7; 32]),
    };
    let with = |keys: &[TokenKey]| Registration { token_keys: keys.to_vec(), ..registration("/payments") };
    let later = noon() + Duration::from_secs(60);
    for keys in [vec![key("a", noon())], vec![key("a", later), key("b", noon())], vec![key("b", noon())]] {
        import(book, vec![with(&keys)], false).await.unwrap();
        assert_eq!(book.registration(&registration("/payments").id).unwrap().unwrap().token_keys, keys);
    }
    assert_eq!(import(book, vec![with(&[key("b", noon())])], false).await.unwrap().unchanged.len(), 1);
    book.remove_registration(registration("/payments").id, OPERATOR, noon()).await.unwrap();
    let events = book.events(0, 99).unwrap();
    let of_keys = events.iter().map(|event| std::str::from_utf8(&event.bytes).unwrap()).filter_map(|text| {
        let kid = text.split("\"kid\":\"").nth(1)?.chars().next()?;
        Some((text.contains("token_key.added"), kid))
    });
    let expected = [(true, 'a'), (false, 'a'), (true, 'a'), (true, 'b'), (false, 'a'), (false, 'b')];
    assert_eq!(of_keys.collect::<Vec<_>>(), expected, "a key whose end moved went and came");
}

pub(crate) async fn lists_come_in_pieces_that_fit_together(book: &Book) {
    let all: Vec<_> = (0..300).map(|n| registration(&format!("/n{n:03}"))).collect();
    import(book, all.clone(), false).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let piece = book.registrations(after.as_ref(), 7).unwrap();
        assert!(piece.items.len() <= 7);
        seen.extend(piece.items);
        match piece.next {
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(seen, all);
    let outside = "ff00".parse().unwrap();
    assert_eq!(book.registrations(Some(&outside), 7).unwrap().items, []);
}

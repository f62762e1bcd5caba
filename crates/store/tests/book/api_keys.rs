//! API keys and access tokens that were taken back: what is listed, until when, and what is told of.

use std::time::Duration;

use countersign_identity::{ApiKeyId, KeyHash, Timestamp};
use countersign_store::{
    Actor, ApiKeyFilter, ApiKeyRecord, Refusal, RevokedToken, Store, StoreError, Withdrawn,
};

use crate::house::{HOUR, draw, noon};

const DAY: Duration = Duration::from_hours(24);

fn key(service: &str, expires: Timestamp) -> ApiKeyRecord {
    ApiKeyRecord {
        id: ApiKeyId::from_random(draw().to_be_bytes()),
        hash: [7; 32],
        under: KeyHash::from_bytes([8; 32]),
        spiffe_id: "spiffe://prod.example/payments".parse().unwrap(),
        service: service.to_owned(),
        permissions: vec![format!("{service}:read")],
        created: noon(),
        expires,
        note: "nightly job".to_owned(),
        last_used: None,
        revoked: None,
        successor: None,
        warned: 0,
    }
}

async fn create(book: &dyn Store, key: &ApiKeyRecord) {
    book.create_api_key(key.clone(), None, Actor::House, noon()).await.unwrap();
}

fn events(book: &dyn Store, kind: &str) -> usize {
    let kind = format!("\"kind\":\"{kind}\"");
    let all = book.events(0, 1000).unwrap();
    all.iter().filter(|event| String::from_utf8_lossy(&event.bytes).contains(&kind)).count()
}

pub(crate) async fn a_key_is_found_by_its_id_and_listed_by_whom_and_where(book: &dyn Store) {
    let (ledger, post) = (key("ledger", noon() + DAY), key("post", noon() + DAY));
    create(book, &ledger).await;
    create(book, &post).await;
    assert_eq!(book.api_key(ledger.id).unwrap(), Some(ledger.clone()));
    let at = |service: &str| ApiKeyFilter { service: Some(service.to_owned()), ..ApiKeyFilter::default() };
    assert_eq!(book.api_keys(&at("post"), None, 10).unwrap().items, [post]);
    let of = ApiKeyFilter { identity: Some("spiffe://prod.example/x".parse().unwrap()), service: None };
    assert_eq!(book.api_keys(&of, None, 10).unwrap().items, []);
    assert_eq!(events(book, "api_key.created"), 2);
}

pub(crate) async fn a_revoked_key_is_withdrawn_until_its_end(book: &dyn Store) {
    let key = key("ledger", noon() + DAY);
    create(book, &key).await;
    let before = book.trust_state(0).unwrap();
    let revoke = |id| book.revoke_api_key(id, "leaked".into(), Actor::House, noon());
    revoke(key.id).await.unwrap();
    let after = book.trust_state(0).unwrap();
    assert!(after.sequence > before.sequence && after.withdrawn > before.withdrawn);
    assert_eq!(book.withdrawn(noon()).unwrap().api_keys, [key.id]);
    assert_eq!(book.withdrawn(noon() + DAY).unwrap(), Withdrawn::default());
    revoke(key.id).await.unwrap();
    assert_eq!((book.trust_state(0).unwrap().sequence, events(book, "api_key.revoked")), (after.sequence, 1));
    let unknown = ApiKeyId::from_random([0xee; 8]);
    let refused = StoreError::Refused(Refusal::ApiKeyUnknown { id: unknown });
    assert_eq!(revoke(unknown).await, Err(refused));
}

pub(crate) async fn a_key_that_is_replaced_ends_early_and_names_its_successor(book: &dyn Store) {
    let (old, new) = (key("ledger", noon() + 30 * DAY), key("ledger", noon() + 60 * DAY));
    create(book, &old).await;
    let replaces = Some((old.id, noon() + DAY));
    book.create_api_key(new.clone(), replaces, Actor::House, noon()).await.unwrap();
    let ended = book.api_key(old.id).unwrap().unwrap();
    assert_eq!((ended.expires, ended.successor), (noon() + DAY, Some(new.id)));
    assert_eq!(events(book, "api_key.rotated"), 1);
    let late = key("ledger", noon() + 60 * DAY);
    let refused = book.create_api_key(late.clone(), replaces, Actor::House, noon() + DAY).await;
    assert_eq!(refused, Err(StoreError::Refused(Refusal::ApiKeyEnded { id: old.id })));
    assert_eq!(book.api_key(late.id).unwrap(), None);
}

pub(crate) async fn a_key_is_told_of_three_times_before_its_end_and_leaves_long_after(book: &dyn Store) {
    let key = key("ledger", noon() + 20 * DAY);
    create(book, &key).await;
    let mut told = Vec::new();
    for day in 0..20_u32 {
        for _ in 0..2 {
            book.expire(noon() + day * DAY).await.unwrap();
        }
        if events(book, "api_key.expiring") > told.len() {
            told.push(20 - day);
        }
    }
    assert_eq!(told, [14, 7, 1]);
    book.expire(noon() + 50 * DAY - HOUR).await.unwrap();
    assert!(book.api_key(key.id).unwrap().is_some());
    book.expire(noon() + 50 * DAY + HOUR).await.unwrap();
    assert_eq!(book.api_key(key.id).unwrap(), None);
}

pub(crate) async fn the_last_use_of_a_key_is_known_to_the_hour(book: &dyn Store) {
    let key = key("ledger", noon() + DAY);
    create(book, &key).await;
    let last = || book.api_key(key.id).unwrap().unwrap().last_used;
    let unknown = ApiKeyId::from_random([0xee; 8]);
    book.note_api_key_uses(vec![(key.id, noon()), (unknown, noon())]).await.unwrap();
    assert_eq!(last(), Some(noon()));
    book.note_api_key_uses(vec![(key.id, noon() + HOUR / 2)]).await.unwrap();
    assert_eq!(last(), Some(noon()));
    book.note_api_key_uses(vec![(key.id, noon() + HOUR)]).await.unwrap();
    assert_eq!(last(), Some(noon() + HOUR));
}

pub(crate) async fn a_revoked_token_is_withdrawn_until_its_end_and_then_forgotten(book: &dyn Store) {
    let expires = noon() + HOUR / 4;
    let token = |id: u8| RevokedToken {
        id: [id; 16],
        expires,
        subject: "spiffe://prod.example/payments".into(),
        service: "ledger".into(),
    };
    let before = book.trust_state(0).unwrap().sequence;
    for _ in 0..2 {
        book.revoke_token(token(1), Actor::House, noon()).await.unwrap();
    }
    book.revoke_token(token(2), Actor::House, expires).await.unwrap();
    assert_eq!(book.trust_state(0).unwrap().sequence, before + 1);
    assert_eq!(book.withdrawn(noon()).unwrap().tokens, [[1; 16]]);
    assert!(book.is_token_revoked(&[1; 16], expires).unwrap());
    assert!(!book.is_token_revoked(&[2; 16], expires).unwrap());
    book.expire(noon() + 2 * HOUR).await.unwrap();
    assert!(!book.is_token_revoked(&[1; 16], expires).unwrap());
    assert_eq!(events(book, "token.revoked"), 1);
}

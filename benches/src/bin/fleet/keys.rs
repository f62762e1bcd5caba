//! `keys`: as many API keys as a book should have, each with a hash that no secret has.

use std::{path::Path, sync::Arc, time::Duration, time::Instant};

use anyhow::Result;
use countersign_identity::{ApiKeyId, KeyHash, SpiffeId};
use countersign_store::{Actor, ApiKeyRecord, Book, Options, Store as _};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{HANDS, now};

pub(crate) async fn run(book: &Path, spiffe_id: &SpiffeId, service: &str, count: usize) -> Result<String> {
    let mut dice = StdRng::seed_from_u64(2);
    let options = Options::new(Box::new(move |salt: &mut [u8]| dice.fill_bytes(salt)));
    let book = Arc::new(Book::open(book, Options { queue_depth: 4096, ..options })?);
    let (begun, created) = (Instant::now(), now());
    let mut busy = JoinSet::new();
    for hand in 0..HANDS {
        let (book, spiffe_id, service) = (Arc::clone(&book), spiffe_id.clone(), service.to_owned());
        let share = count / usize::try_from(HANDS)?;
        busy.spawn(async move {
            let mut dice = StdRng::seed_from_u64(hand);
            for _ in 0..share {
                let record = ApiKeyRecord {
                    id: ApiKeyId::from_random(dice.random()),
                    hash: dice.random(),
                    under: KeyHash::from_bytes(dice.random()),
                    spiffe_id: spiffe_id.clone(),
                    service: service.clone(),
                    permissions: vec![format!("{service}:read")],
                    created,
                    expires: created + Duration::from_hours(24 * 60),
                    note: String::new(),
                    last_used: None,
                    revoked: None,
                    successor: None,
                    warned: 0,
                };
                book.create_api_key(record, None, Actor::House, created).await?;
            }
            Result::<_>::Ok(share)
        });
    }
    let mut made = 0;
    while let Some(done) = busy.join_next().await {
        made += done??;
    }
    Ok(json!({ "keys": made, "seconds": begun.elapsed().as_secs_f64() }).to_string())
}

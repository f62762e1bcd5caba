//! `sweep`: how long the expired take to leave a large book, and how long others wait meanwhile.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use countersign_bench::corridor::Corridor;
use countersign_store::Store as _;
use serde_json::json;

use crate::{now, open};

/// Between two commands that are timed.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn run(dir: &Path, limit: Duration) -> Result<String> {
    let (corridor, _) = Corridor::new("bench.example", "lifetime = \"1h\"", now()).await?;
    let place = open(dir, corridor)?;
    let started = Instant::now();
    let sweeping = tokio::spawn({
        let place = Arc::clone(&place);
        async move { place.book().expire(now()).await }
    });
    let mut longest = Duration::ZERO;
    while !sweeping.is_finished() && started.elapsed() < limit {
        let begun = Instant::now();
        place.book().append_events(Vec::new()).await?;
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    let finished = sweeping.is_finished();
    // What is under way ends with the book.
    sweeping.abort();
    Ok(json!({
        "seconds": started.elapsed().as_secs_f64(),
        "finished": finished,
        "longest_wait_ms": longest.as_secs_f64() * 1e3,
    })
    .to_string())
}

//! `churn`: a fleet that renews for days of injected time, and the size of its book.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use countersign_bench::{
    CpuTime,
    corridor::{Corridor, registration},
    crew::{Machine, Place},
    ghosts::Ghosts,
};
use countersign_identity::Timestamp;
use countersign_store::{Archive, Store as _};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{HANDS, open_archived};

/// When the injected clock begins: 2026-11-23T12:00:00Z.
const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);

/// Events read at a time to learn how large one is.
const EVENTS: u64 = 500;

pub(crate) struct Plan {
    pub(crate) machines: usize,
    pub(crate) issuances: u64,
    pub(crate) minutes: u64,
    pub(crate) samples: u64,
}

/// Where the rows are, and where the events that have left them.
#[derive(Clone, Copy)]
struct Directories<'a> {
    book: &'a Path,
    archive: &'a Path,
}

/// One worker with its machines.
struct Hand {
    ghosts: Ghosts,
    machines: Vec<Machine>,
}

pub(crate) async fn run(dir: &Path, plan: &Plan) -> Result<()> {
    let (book, archive) = (dir.join("book"), dir.join("events"));
    let dir = Directories { book: &book, archive: &archive };
    let profile = format!("lifetime = \"{}m\"", plan.minutes);
    let (corridor, _) = Corridor::new("bench.example", &profile, NOON).await?;
    let place = open_archived(dir.book, Some(Archive::at(dir.archive)), corridor)?;
    let mut hands = enroll(&place, plan.machines).await?;
    let each = plan.machines as u64;
    let rounds = plan.issuances.saturating_sub(each).div_ceil(each);
    let every = (rounds / plan.samples.max(1)).max(1);
    let half_life = Duration::from_secs(plan.minutes * 30);
    let (mut tally, mut now) = (Tally::begin(), NOON);
    for round in 1..=rounds {
        now = now + half_life;
        hands = renew(&place, hands, now).await?;
        place.book().expire(now).await?;
        hand_on(&place, &mut tally).await?;
        tally.book.push(size(dir.book)?);
        if round % every == 0 || round == rounds {
            let sample = sample(&place, dir, (round + 1) * each, now, &mut tally)?;
            writeln!(std::io::stdout(), "{sample}")?;
        }
    }
    Ok(())
}

/// What is measured on the way.
struct Tally {
    begun: Instant,
    /// The book's size after each round since the last sample: it swings as tables are merged.
    book: Vec<u64>,
    /// CPU time for handing events on, with what the engine does meanwhile.
    handing_on: Duration,
}

impl Tally {
    fn begin() -> Self {
        Self { begun: Instant::now(), book: Vec::new(), handing_on: Duration::ZERO }
    }
}

async fn enroll(place: &Arc<Place>, machines: usize) -> Result<Vec<Hand>> {
    let mut busy = JoinSet::new();
    for hand in 0..HANDS {
        let place = Arc::clone(place);
        let numbers = (hand..machines as u64).step_by(usize::try_from(HANDS)?);
        busy.spawn(async move {
            let (mut ghosts, mut enrolled) = (Ghosts::new(hand)?, Vec::new());
            for number in numbers {
                let id = format!("spiffe://bench.example/fleet/{number:07}").parse()?;
                enrolled.push(place.enroll(registration(id, NOON), &mut ghosts, NOON).await?);
            }
            Result::<_>::Ok(Hand { ghosts, machines: enrolled })
        });
    }
    all(busy).await
}

/// Old events leave, as far as they can.
async fn hand_on(place: &Place, tally: &mut Tally) -> Result<()> {
    let before = CpuTime::of(std::process::id())?;
    while place.book().hand_on_events().await?.more {}
    tally.handing_on += CpuTime::of(std::process::id())?.since(before);
    Ok(())
}

/// Every machine renews once, all at the same moment of the injected clock.
async fn renew(place: &Arc<Place>, hands: Vec<Hand>, now: Timestamp) -> Result<Vec<Hand>> {
    let mut busy = JoinSet::new();
    for mut hand in hands {
        let place = Arc::clone(place);
        busy.spawn(async move {
            for machine in &mut hand.machines {
                place.renew(machine, &mut hand.ghosts, now).await?;
            }
            Result::<_>::Ok(hand)
        });
    }
    all(busy).await
}

async fn all(mut busy: JoinSet<Result<Hand>>) -> Result<Vec<Hand>> {
    let mut hands = Vec::new();
    while let Some(done) = busy.join_next().await {
        hands.push(done??);
    }
    Ok(hands)
}

fn sample(
    place: &Place,
    dir: Directories<'_>,
    issued: u64,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<serde_json::Value> {
    let counts = place.book().counts()?;
    let newest = place.book().events(counts.events.saturating_sub(EVENTS), usize::try_from(EVENTS)?)?;
    let octets: usize = newest.iter().map(|event| event.bytes.len()).sum();
    let archived = if dir.archive.exists() { size(dir.archive)? } else { 0 };
    let book = std::mem::take(&mut tally.book);
    Ok(json!({
        "issued": issued,
        "held": counts.issuances,
        "events": counts.events,
        "clock": now.to_string(),
        "book_mb": book.iter().sum::<u64>() as f64 / book.len().max(1) as f64 / 1e6,
        "book_most_mb": book.iter().max().map_or(0.0, |most| *most as f64 / 1e6),
        "archive_mb": archived as f64 / 1e6,
        "archive_octets_an_event": archived.checked_div(counts.archived),
        "archive_us_an_event": tally.handing_on.as_secs_f64() * 1e6 / counts.archived.max(1) as f64,
        "event_octets": octets.checked_div(newest.len()),
        "rss_mb": rss_mb()?,
        "per_second": (issued as f64 / tally.begun.elapsed().as_secs_f64()).round(),
    }))
}

/// All files below a directory.
fn size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A table that was merged away meanwhile has no size.
        let Ok(kind) = entry.metadata() else { continue };
        sum += if kind.is_dir() { size(&entry.path())? } else { kind.len() };
    }
    Ok(sum)
}

fn rss_mb() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

//! `seed`: a machine for every registration of a book.

use std::{collections::VecDeque, fs, io::Write as _, path::Path, sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use countersign_bench::{corridor::Corridor, crew::Place, ghosts::Ghosts, pem};
use countersign_issuance::Registration;
use countersign_store::{Cursor, Store as _};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{HANDS, now, open};

/// Registrations read at a time, and machines enrolled before the next are read.
const PAGE: usize = 20_000;

pub(crate) async fn run(
    book: &Path,
    issuer: &Path,
    profile: &Path,
    below: &str,
    revoked: bool,
) -> Result<String> {
    let issuer = pem::certificates(&fs::read_to_string(issuer)?)?;
    let issuer = issuer.first().context("an empty file")?;
    let domain = below.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
    let domain = domain.context("--below begins with spiffe://TRUST-DOMAIN/")?;
    let corridor = Corridor::under(issuer, domain, &fs::read_to_string(profile)?)?;
    let place = open(book, corridor)?;
    let mut hands = (0..HANDS).map(Ghosts::new).collect::<Result<VecDeque<_>>>()?;
    let (begun, mut enrolled, mut after) = (Instant::now(), 0, None::<Cursor>);
    let total = place.book().counts()?.registrations;
    loop {
        let page = place.book().registrations(after.as_ref(), PAGE)?;
        let wanted: Vec<_> =
            page.items.into_iter().filter(|one| one.id.as_str().starts_with(below)).collect();
        enrolled += wanted.len();
        enroll(&place, wanted, &mut hands, revoked).await?;
        let rate = enrolled as f64 / begun.elapsed().as_secs_f64();
        writeln!(std::io::stderr(), "{enrolled} machines of {total} registrations, {rate:.0} a second")?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(json!({ "machines": enrolled, "seconds": begun.elapsed().as_secs_f64() }).to_string())
}

/// Deals the registrations out to all hands.
async fn enroll(
    place: &Arc<Place>,
    wanted: Vec<Registration>,
    hands: &mut VecDeque<Ghosts>,
    revoked: bool,
) -> Result<()> {
    let now = now();
    let share = wanted.len().div_ceil(hands.len().max(1)).max(1);
    let mut busy = JoinSet::new();
    let mut wanted = wanted.into_iter().peekable();
    while wanted.peek().is_some() {
        let share: Vec<_> = wanted.by_ref().take(share).collect();
        let (place, mut ghosts) = (Arc::clone(place), hands.pop_front().context("more shares than hands")?);
        busy.spawn(async move {
            for registration in share {
                let machine = place.enroll(registration, &mut ghosts, now).await?;
                if revoked {
                    place.revoke(&machine, now).await?;
                }
            }
            Result::<_>::Ok(ghosts)
        });
    }
    while let Some(done) = busy.join_next().await {
        hands.push_back(done??);
    }
    Ok(())
}

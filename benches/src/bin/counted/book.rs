//! Renewals of one machine through a book in memory.

use anyhow::Result;
use countersign_bench::{
    corridor::{Corridor, registration},
    crew::Place,
    ghosts::Ghosts,
};
use countersign_store::{Book, Options};
use std::time::Duration;

use crate::NOON;

pub(crate) async fn walk(times: u32) -> Result<()> {
    let (corridor, _) = Corridor::new("bench.example", "lifetime = \"1h\"", NOON).await?;
    let mut dice = Ghosts::new(1)?;
    let salts = Box::new(move |salt: &mut [u8]| salt.iter_mut().for_each(|octet| [*octet] = dice.octets()));
    let place = Place::new(Book::in_memory(Options::new(salts))?, corridor);
    let (mut ghosts, mut now) = (Ghosts::new(2)?, NOON);
    let registration = registration("spiffe://bench.example/counted".parse()?, NOON);
    let mut machine = place.enroll(registration, &mut ghosts, now).await?;
    for _ in 0..times {
        now = now + Duration::from_secs(1);
        place.renew(&mut machine, &mut ghosts, now).await?;
    }
    Ok(())
}

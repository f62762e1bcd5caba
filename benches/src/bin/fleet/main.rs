//! Fleets of any size in a book, through the store's own commands: what TLS would take hours for.
//!
//! `seed` gives every registration of a stopped CA's book a machine; `churn` renews a fleet in a book of its own by an
//! injected clock and shows how large the book is. Both show how far they are and end by themselves.

mod churn;
mod keys;
mod seed;
mod sweep;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use countersign_bench::{corridor::Corridor, crew::Place};
use countersign_identity::{SpiffeId, Timestamp};
use countersign_store::{Archive, Book, Options};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Workers: two full groups of the committer, so that many share a flush.
const HANDS: u64 = 512;

/// The fleets of scripts/scale.
#[derive(Parser)]
enum Command {
    /// Enrolls a machine for every registration below a path, in the book of a CA that does not run.
    Seed {
        /// The book's directory.
        #[arg(long)]
        book: PathBuf,
        /// The certificate of the CA's issuer, PEM.
        #[arg(long)]
        issuer: PathBuf,
        /// The profile of the registrations, as the CA has it.
        #[arg(long)]
        profile: PathBuf,
        /// Only registrations whose SPIFFE ID begins so.
        #[arg(long)]
        below: String,
        /// Revoke each machine at once.
        #[arg(long)]
        revoked: bool,
    },
    /// Makes API keys of one identity, in the book of a CA that does not run.
    Keys {
        /// The book's directory.
        #[arg(long)]
        book: PathBuf,
        /// Whose.
        #[arg(long)]
        spiffe_id: SpiffeId,
        /// For which service.
        #[arg(long)]
        service: String,
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        count: usize,
    },
    /// Lets what has expired leave a book, and says how long others wait meanwhile.
    Sweep {
        /// The book's directory.
        #[arg(long)]
        book: PathBuf,
        /// Watch no longer than this.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
    /// Renews a fleet over and over while its certificates end, and prints a line of JSON for each sample.
    Churn {
        /// The directory for the new book and its archive.
        #[arg(long)]
        dir: PathBuf,
        /// Machines in the fleet.
        #[arg(long, default_value_t = 5_000)]
        machines: usize,
        /// Certificates to issue in all.
        #[arg(long, default_value_t = 10_000_000)]
        issuances: u64,
        /// The life of each, in minutes; machines renew at half of it.
        #[arg(long, default_value_t = 5)]
        minutes: u64,
        /// Samples to take.
        #[arg(long, default_value_t = 40)]
        samples: u64,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Seed { book, issuer, profile, below, revoked } => {
            let line = seed::run(&book, &issuer, &profile, &below, revoked).await?;
            writeln!(std::io::stdout(), "{line}")?;
        }
        Command::Keys { book, spiffe_id, service, count } => {
            let line = keys::run(&book, &spiffe_id, &service, count).await?;
            writeln!(std::io::stdout(), "{line}")?;
        }
        Command::Sweep { book, seconds } => {
            let line = sweep::run(&book, Duration::from_secs(seconds)).await?;
            writeln!(std::io::stdout(), "{line}")?;
        }
        Command::Churn { dir, machines, issuances, minutes, samples } => {
            churn::run(&dir, &churn::Plan { machines, issuances, minutes, samples }).await?;
        }
    }
    Ok(())
}

fn open(dir: &Path, corridor: Corridor) -> Result<Arc<Place>> {
    open_archived(dir, None, corridor)
}

fn open_archived(dir: &Path, archive: Option<Archive>, corridor: Corridor) -> Result<Arc<Place>> {
    let mut dice = StdRng::seed_from_u64(1);
    let options = Options::new(Box::new(move |salt: &mut [u8]| dice.fill_bytes(salt)));
    // Certificates to be kept have four times this room.
    let book = Book::open(dir, Options { queue_depth: 4096, archive, ..options })?;
    Ok(Arc::new(Place::new(book, corridor)))
}

#[expect(clippy::disallowed_methods, reason = "the CA whose book it is goes by this clock")]
fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

//! The crash matrix: a CA and its agents under load, killed at random with `kill -9`, and a checker that compares what
//! everyone was told with what the book says afterwards (invariant 2).
//!
//! The same seed draws the same kills; what they hit is up to the scheduler. `scripts/crash` builds everything and runs
//! this. It exits 1 if anything was lost, is there twice, or if a planted fault is not found.

mod agents;
mod ca;
mod checker;
mod dice;
mod kills;
mod machines;
mod receipts;

use std::{io::Write as _, path::PathBuf};

use anyhow::Result;
use clap::Parser;

/// Kills a CA and its agents under load and checks that nothing acknowledged is lost.
#[derive(Clone, Parser)]
struct Options {
    /// How many kills.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// What the kills are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where `countersign` and `countersign-agent` lie.
    #[arg(long)]
    bin_dir: PathBuf,
    /// Machines that enroll, renew and are revoked, inside this process.
    #[arg(long, default_value_t = 12)]
    machines: u64,
    /// Real agents.
    #[arg(long, default_value_t = 3)]
    agents: u64,
    /// Kills between two looks into the book.
    #[arg(long, default_value_t = 50)]
    check_every: u64,
    /// The binaries have failpoints: half of the server's deaths are at an arrow of the corridor.
    #[arg(long)]
    arrows: bool,
    /// Leaves the scratch directory.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let report = kills::run(Options::parse()).await?;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

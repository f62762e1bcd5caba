//! Paths whose instructions scripts/count counts under callgrind: each is walked a number of times, so that the
//! difference between two runs is free of everything that comes before the first.

mod book;
mod certificate;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use countersign_identity::Timestamp;

/// When everything here happens: 2026-11-23T12:00:00Z.
const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);

/// One path, walked a number of times on one thread.
#[derive(Parser)]
struct Walk {
    path: Path,
    #[arg(long)]
    times: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Path {
    /// From a request to a signed certificate: parser, both signature operations, policy, encoder, judge; no book.
    Certificate,
    /// A renewal through the book in memory: parser, policy, encoder, judge, records and events; no elliptic curves.
    Book,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Walk { path, times } = Walk::parse();
    match path {
        Path::Certificate => certificate::walk(times).await,
        Path::Book => book::walk(times).await,
    }
}

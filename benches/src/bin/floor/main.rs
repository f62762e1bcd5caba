//! The yardstick: the least a durable renewal over mutual TLS can cost in Rust.
//!
//! Renewal only: the certificate presented is walked to the root, the CSR's signature checked, the identity
//! looked up in a map, a leaf encoded and signed, one log record made durable, the chain answered. No policy,
//! no lineage, no audit, no limits: an upper bound, not a product.

mod house;
mod leaf;
mod log;
mod server;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::Parser;

/// The yardstick server of scripts/bench.
#[derive(Parser)]
enum Command {
    /// Makes a root, an issuer, a server certificate and client identities.
    Init {
        /// An empty or absent directory.
        dir: PathBuf,
        /// How many client identities to make.
        #[arg(long, default_value_t = 2000)]
        identities: usize,
    },
    /// Serves renewals until killed.
    Serve {
        /// The directory `init` filled.
        dir: PathBuf,
        /// Where to serve `POST /v1/renew` over TLS.
        #[arg(long)]
        listen: SocketAddr,
        /// Where to serve `GET /stats` in plain HTTP; each reading begins a new interval.
        #[arg(long)]
        stats_listen: SocketAddr,
        /// Answer without writing anything.
        #[arg(long)]
        no_store: bool,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Init { dir, identities } => house::init(&dir, identities),
        Command::Serve { dir, listen, stats_listen, no_store } => {
            server::serve(&dir, listen, stats_listen, !no_store).await
        }
    }
}

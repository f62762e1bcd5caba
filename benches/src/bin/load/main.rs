//! The loader: clients with certificates of their own that renew against the CA or the floor.
//!
//! `invite`, `enroll` and `keys` prepare identities at a CA (the floor makes its own); `keep-alive`, `fresh` and `tokens`
//! measure.
//! Keys and CSRs are made before the measured window, answers are judged after it.

mod enroll;
mod flood;
mod invite;
mod judge;
mod keys;
mod load;
mod tokens;
mod window;

use std::{io::Write as _, net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::Parser;

/// The loader of scripts/bench.
#[derive(Parser)]
enum Command {
    /// Creates registrations and invitations over a CA's unix socket; prints one invitation a line.
    Invite {
        /// The admin socket.
        #[arg(long)]
        socket: PathBuf,
        /// The CA's trust domain.
        #[arg(long)]
        trust_domain: String,
        /// How many.
        #[arg(long, default_value_t = 2000)]
        count: usize,
    },
    /// Redeems invitations and writes an identity file.
    Enroll {
        /// One invitation a line.
        #[arg(long)]
        invitations: PathBuf,
        /// The CA's TLS listener.
        #[arg(long)]
        server: SocketAddr,
        /// The root certificate, PEM; must be the one the invitations pin.
        #[arg(long)]
        root: PathBuf,
        /// The identity file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Makes API keys over a CA's unix socket; prints one a line.
    Keys {
        /// The admin socket.
        #[arg(long)]
        socket: PathBuf,
        /// Whose.
        #[arg(long)]
        spiffe_id: String,
        /// For which service.
        #[arg(long)]
        service: String,
        /// How many.
        #[arg(long, default_value_t = 2000)]
        count: usize,
    },
    /// Renews over connections opened beforehand (B1, B1s, B2).
    KeepAlive {
        #[command(flatten)]
        load: load::Load,
        /// Renewals over each connection. The certificate presented stays the same one, so each but the first
        /// supersedes the one before; a CA takes at most 3 of those.
        #[arg(long, default_value_t = 1)]
        per_connection: usize,
    },
    /// Buys tokens, or asks about API keys, over connections opened beforehand (B9).
    Tokens(tokens::Tokens),
    /// Asks without end, from one address.
    Flood(flood::Flood),
    /// Renews with a new connection and the newest certificate each time, as agents do (B3).
    Fresh {
        #[command(flatten)]
        load: load::Load,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let text = match Command::parse() {
        Command::Invite { socket, trust_domain, count } => invite::run(&socket, &trust_domain, count).await?,
        Command::Enroll { invitations, server, root, out } => {
            enroll::run(&invitations, server, &root, &out).await?
        }
        Command::KeepAlive { load, per_connection } => load.keep_alive(per_connection).await?,
        Command::Keys { socket, spiffe_id, service, count } => {
            keys::run(&socket, &spiffe_id, &service, count).await?
        }
        Command::Tokens(tokens) => tokens.run().await?,
        Command::Flood(flood) => flood.run().await?,
        Command::Fresh { load } => load.fresh().await?,
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

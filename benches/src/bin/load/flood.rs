//! Somebody who asks without end, to measure what others notice of it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use countersign_api::paths;
use countersign_bench::{Connection, tls};
use rustls::ClientConfig;
use serde_json::json;

/// What comes without end.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// New connections: each is greeted, says nothing, and goes.
    Handshakes,
    /// Requests over connections that stay.
    Requests,
}

/// A flood from one address.
#[derive(Args)]
pub(crate) struct Flood {
    /// The TLS listener.
    #[arg(long)]
    server: SocketAddr,
    /// The address it comes from.
    #[arg(long)]
    from: IpAddr,
    /// The root certificate, PEM.
    #[arg(long)]
    root: PathBuf,
    #[arg(long)]
    kind: Kind,
    /// How many at once.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

impl Flood {
    pub(crate) async fn run(self) -> Result<String> {
        let root = std::fs::read_to_string(&self.root)?;
        let config = Arc::new(tls::client(&tls::roots(&root)?, None)?);
        let until = Instant::now() + Duration::from_secs_f64(self.seconds);
        let Self { server, from, kind, .. } = self;
        let workers: Vec<_> = (0..self.concurrency)
            .map(|_| tokio::spawn(ask(server, from, kind, Arc::clone(&config), until)))
            .collect();
        let (mut taken, mut refused) = (0, 0);
        for worker in workers {
            let (yes, no) = worker.await?;
            (taken, refused) = (taken + yes, refused + no);
        }
        Ok(json!({ "taken": taken, "refused": refused }).to_string())
    }
}

/// How often it was answered well, and how often not.
async fn ask(
    server: SocketAddr,
    from: IpAddr,
    kind: Kind,
    config: Arc<ClientConfig>,
    until: Instant,
) -> (u64, u64) {
    let (mut taken, mut refused) = (0, 0);
    while Instant::now() < until {
        let Ok(mut connection) = Connection::open_from(from, server, Arc::clone(&config)).await else {
            refused += 1;
            // Or the flood is one of its own processor.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        match kind {
            Kind::Handshakes => taken += 1,
            Kind::Requests => loop {
                match connection.get(paths::BUNDLE).await {
                    Ok(answer) if answer.status.is_success() => taken += 1,
                    Ok(_) => refused += 1,
                    Err(_) => break,
                }
                if Instant::now() >= until {
                    break;
                }
            },
        }
    }
    (taken, refused)
}

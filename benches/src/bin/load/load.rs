//! The two ways to load a server: over connections opened beforehand, and over a new one each time.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use countersign_api::paths;
use countersign_bench::{Answer, Connection, Identity, IdentityFile, Proposal, Sample, tls};
use hyper::body::Bytes;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    judge::{self, Verdict},
    window::Window,
};

/// How many connections are opened at once before a keep-alive run.
const OPENERS: usize = 16;

/// What both ways take.
#[derive(Args)]
pub(crate) struct Load {
    /// The TLS listener.
    #[arg(long)]
    server: SocketAddr,
    /// The identity file; it is written back with the newest certificates.
    #[arg(long)]
    pub(crate) identities: PathBuf,
    /// How many of its identities to use, each over a connection of its own.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// Workers that renew at the same time.
    #[arg(long, default_value_t = 10)]
    pub(crate) concurrency: usize,
    /// Stop after this many seconds, even if not all identities have renewed.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Come from this address.
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
    /// The server's process, whose CPU time is reported.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

/// One renewal that was tried.
pub(crate) struct Done {
    /// Index in the identity file.
    pub(crate) identity: usize,
    pub(crate) proposal: Proposal,
    pub(crate) answer: Result<Answer>,
    latency: Duration,
}

/// One identity made ready: what it presents and what it will ask for.
pub(crate) struct Client {
    identity: usize,
    config: Arc<ClientConfig>,
    proposals: Vec<(Proposal, Bytes)>,
}

impl Load {
    pub(crate) async fn keep_alive(self, per_connection: usize) -> Result<String> {
        let file = IdentityFile::load(&self.identities)?;
        let open = self.open(self.clients(&file, per_connection)?).await?;
        let window = Window::open(self.pid).await?;
        let deadline = Instant::now() + Duration::from_secs_f64(self.seconds);
        let workers = shares(open, self.concurrency).map(|mut share| {
            tokio::spawn(async move {
                let mut done = Vec::new();
                // Every connection once, then every connection again: no connection is warmer than an agent's.
                for _ in 0..per_connection {
                    for (client, connection) in &mut share {
                        let Some((proposal, body)) = client.proposals.pop() else { continue };
                        if Instant::now() >= deadline {
                            return done;
                        }
                        let begun = Instant::now();
                        let answer = connection.post(paths::RENEW, body).await;
                        done.push(Done {
                            identity: client.identity,
                            proposal,
                            answer,
                            latency: begun.elapsed(),
                        });
                    }
                }
                done
            })
        });
        let done = all(workers.collect()).await?;
        self.report("keep-alive", window, done, file).await
    }

    pub(crate) async fn fresh(self) -> Result<String> {
        let file = IdentityFile::load(&self.identities)?;
        let clients = self.clients(&file, 1)?;
        let (from, server) = (self.from, self.server);
        let window = Window::open(self.pid).await?;
        let deadline = Instant::now() + Duration::from_secs_f64(self.seconds);
        let workers = shares(clients, self.concurrency).map(|share| {
            tokio::spawn(async move {
                let mut done = Vec::new();
                for Client { identity, config, mut proposals } in share {
                    let Some((proposal, body)) = proposals.pop() else { continue };
                    if Instant::now() >= deadline {
                        break;
                    }
                    let begun = Instant::now();
                    let answer = renew_once(from, server, config, body).await;
                    done.push(Done { identity, proposal, answer, latency: begun.elapsed() });
                }
                done
            })
        });
        let done = all(workers.collect()).await?;
        self.report("fresh", window, done, file).await
    }

    pub(crate) fn clients(&self, file: &IdentityFile, proposals: usize) -> Result<Vec<Client>> {
        let roots = tls::roots(&file.root)?;
        let chosen = file.identities.iter().take(self.connections).enumerate();
        chosen.map(|(n, identity)| Client::new(n, identity, &roots, proposals)).collect()
    }

    /// Opens every client's connection; none of this is measured.
    pub(crate) async fn open(&self, clients: Vec<Client>) -> Result<Vec<(Client, Connection)>> {
        let (from, server) = (self.from, self.server);
        let openers = shares(clients, OPENERS).map(|share| {
            tokio::spawn(async move {
                let mut open = Vec::new();
                for client in share {
                    let connection = Connection::open_from(from, server, Arc::clone(&client.config)).await;
                    open.push(connection.map(|connection| (client, connection)));
                }
                open
            })
        });
        all(openers.collect())
            .await?
            .into_iter()
            .collect::<Result<_>>()
            .context("cannot open all connections")
    }

    async fn report(
        self,
        mode: &str,
        window: Window,
        done: Vec<Done>,
        mut file: IdentityFile,
    ) -> Result<String> {
        let latencies: Sample =
            done.iter().map(|one| u64::try_from(one.latency.as_micros()).unwrap_or(u64::MAX)).collect();
        let mut figures = window.close(&latencies).await?;
        let Verdict { issued, verified, refused } = judge::judge(&done, &mut file)?;
        file.save(&self.identities)?;
        let run = json!({ "mode": mode, "concurrency": self.concurrency, "issued": issued, "verified": verified, "refused": refused });
        if let (Some(figures), Some(run)) = (figures.as_object_mut(), run.as_object()) {
            figures.extend(run.clone());
        }
        Ok(figures.to_string())
    }
}

impl Client {
    fn new(n: usize, identity: &Identity, roots: &Arc<RootCertStore>, proposals: usize) -> Result<Self> {
        let proposals = (0..proposals).map(|_| {
            let proposal = Proposal::new()?;
            let body = proposal.body()?;
            Ok((proposal, body))
        });
        Ok(Self {
            identity: n,
            config: Arc::new(tls::client(roots, Some((&identity.chain, &identity.key)))?),
            proposals: proposals.collect::<Result<_>>()?,
        })
    }
}

async fn renew_once(
    from: IpAddr,
    server: SocketAddr,
    config: Arc<ClientConfig>,
    body: Bytes,
) -> Result<Answer> {
    Connection::open_from(from, server, config).await?.post(paths::RENEW, body).await
}

/// Deals out the items, so that each worker owns its own and none is locked.
pub(crate) fn shares<T>(items: Vec<T>, workers: usize) -> impl Iterator<Item = Vec<T>> {
    let mut shares: Vec<Vec<T>> = (0..workers.max(1)).map(|_| Vec::new()).collect();
    let mut items = items.into_iter();
    while !items.as_slice().is_empty() {
        shares.iter_mut().zip(&mut items).for_each(|(share, item)| share.push(item));
    }
    shares.into_iter()
}

pub(crate) async fn all<T>(workers: Vec<JoinHandle<Vec<T>>>) -> Result<Vec<T>> {
    let mut done = Vec::new();
    for worker in workers {
        done.append(&mut worker.await?);
    }
    Ok(done)
}

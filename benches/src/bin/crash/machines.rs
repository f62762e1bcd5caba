//! Machines inside this process: they enroll, renew over new and kept connections, are revoked and enroll again.
//!
//! A machine that gets no answer asks again with the same key until it has one, as an agent does.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_api::{CertificateResponse, EnrollRequest, admin::RevokeKind, paths};
use countersign_bench::{Connection, Proposal, tls};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::RwLock;

use crate::{
    ca::{Ca, TRUST_DOMAIN},
    dice::Dice,
    receipts::{self, Held, Ledger},
};

/// A request to a server that dies may never be answered.
const ANSWER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);
/// Tries until a machine gives up: some minutes of a CA that cannot be reached.
const TRIES: usize = 5000;

/// What all machines share.
pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) ledger: Ledger,
    /// Held for reading during an act; who looks into the book takes it for writing.
    pub(crate) acts: RwLock<()>,
}

/// A machine with the certificate it uses.
struct Machine {
    world: Arc<World>,
    spiffe_id: String,
    dice: Dice,
    papers: Arc<ClientConfig>,
    serial: String,
}

/// Lives until it is aborted. Comes back only if it is refused what it must get.
pub(crate) async fn live(world: Arc<World>, number: u64, seed: u64) -> Result<()> {
    let spiffe_id = format!("spiffe://{TRUST_DOMAIN}/machine/{number}");
    let dice = Dice::new(seed ^ (number + 1).wrapping_mul(0x5851_f42d_4c95_7f2d));
    let (papers, serial) = {
        let _act = world.acts.read().await;
        enroll(&world, &spiffe_id).await?
    };
    let mut machine = Machine { world, spiffe_id, dice, papers, serial };
    loop {
        machine.act().await?;
        tokio::time::sleep(Duration::from_millis(machine.dice.below(20))).await;
    }
}

impl Machine {
    async fn act(&mut self) -> Result<()> {
        let world = Arc::clone(&self.world);
        let _act = world.acts.read().await;
        match self.dice.below(20) {
            0 => self.revoked().await,
            1..=7 => self.renew(2).await,
            _ => self.renew(1).await,
        }
    }

    /// Renews so many times over one connection, as long as it holds; the certificate presented stays the same.
    async fn renew(&mut self, times: u64) -> Result<()> {
        let mut kept = None;
        let papers = Arc::clone(&self.papers);
        for _ in 0..times {
            let proposal = Proposal::new()?;
            let body = proposal.body()?;
            let mut answered = None;
            for _ in 0..TRIES {
                let connection = match kept.take() {
                    Some(connection) => Ok(connection),
                    None => opened(&self.world.ca, &papers).await,
                };
                let Ok(mut connection) = connection else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                if let Some(chain) = certificate(&mut connection, paths::RENEW, body.clone()).await? {
                    answered = Some(chain);
                    kept = Some(connection);
                    break;
                }
            }
            let chain = answered.context("a renewal was never answered")?;
            (self.papers, self.serial) = self.world.took(&chain, &proposal)?;
        }
        Ok(())
    }

    /// The operator revokes the machine or its certificate; it comes back by a new invitation.
    async fn revoked(&mut self) -> Result<()> {
        let serial = self.serial.clone();
        let (kind, target) = match self.dice.below(2) {
            0 => (RevokeKind::Machine, self.spiffe_id.clone()),
            _ => (RevokeKind::Serial, serial.clone()),
        };
        let mut told = None;
        for _ in 0..TRIES {
            match self.world.ca.revoke(kind, &target).await {
                Ok(()) => {
                    told = Some(());
                    break;
                }
                // It was done and the answer lost.
                Err(error) if error.to_string().contains("nothing_to_revoke") => {
                    told = Some(());
                    break;
                }
                Err(error)
                    if error.to_string().starts_with(paths::ADMIN_REVOKE)
                        && !is_passing(&error.to_string()) =>
                {
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        told.context("a revocation was never answered")?;
        self.world.ledger.open().revoked.push(serial);
        (self.papers, self.serial) = enroll(&self.world, &self.spiffe_id).await?;
        Ok(())
    }
}

impl World {
    /// Notes a certificate that was answered and gives what presents it.
    fn took(&self, chain: &str, proposal: &Proposal) -> Result<(Arc<ClientConfig>, String)> {
        let held = Held::read(chain)?;
        ensure!(held.key == receipts::sha256(&proposal.spki()), "{} has a key nobody asked for", held.serial);
        let serial = held.serial.clone();
        self.ledger.open().held.push(held);
        Ok((Arc::new(tls::client(&self.roots, Some((chain, &proposal.key_pem())))?), serial))
    }
}

async fn enroll(world: &World, spiffe_id: &str) -> Result<(Arc<ClientConfig>, String)> {
    let nobody = Arc::new(tls::client(&world.roots, None)?);
    let invitation = invited(world, spiffe_id).await?;
    let proposal = Proposal::new()?;
    let body = serde_json::to_vec(&EnrollRequest { invitation, csr: proposal.csr().into() })?;
    for _ in 0..TRIES {
        if let Ok(mut connection) = opened(&world.ca, &nobody).await
            && let Some(chain) = certificate(&mut connection, paths::ENROLL, body.clone().into()).await?
        {
            return world.took(&chain, &proposal);
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("an enrollment was never answered")
}

/// An invitation, noted when it was answered.
pub(crate) async fn invited(world: &World, spiffe_id: &str) -> Result<String> {
    for _ in 0..TRIES {
        match world.ca.invite(spiffe_id).await {
            Ok(invitation) => {
                world.ledger.open().invited.push(spiffe_id.to_owned());
                return Ok(invitation);
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    bail!("an invitation was never answered")
}

async fn opened(ca: &Ca, papers: &Arc<ClientConfig>) -> Result<Connection> {
    tokio::time::timeout(ANSWER, Connection::open(ca.listen, Arc::clone(papers))).await?
}

/// The chain, or nothing if the connection broke or the CA asks to come back later. Any other refusal is an error.
async fn certificate(
    connection: &mut Connection,
    path: &str,
    body: hyper::body::Bytes,
) -> Result<Option<String>> {
    let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, connection.post(path, body)).await else {
        return Ok(None);
    };
    if answer.status.is_success() {
        return Ok(Some(serde_json::from_slice::<CertificateResponse>(&answer.body)?.chain));
    }
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    if is_passing(&answer.status.to_string()) {
        return Ok(None);
    }
    bail!("{path}: {} {said}", answer.status)
}

/// Too many requests, or not ready.
fn is_passing(said: &str) -> bool {
    ["429", "502", "503", "504"].iter().any(|status| said.contains(status))
}

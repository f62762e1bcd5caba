//! From invitations to an identity file.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_api::{CertificateResponse, EnrollRequest, Invitation, paths};
use countersign_bench::{Connection, Identity, IdentityFile, Proposal, pem, tls};
use rustls::ClientConfig;
use sha2::{Digest as _, Sha256};

const WORKERS: usize = 16;

/// Enrolls one key for each line of `invitations`.
pub(crate) async fn run(invitations: &Path, server: SocketAddr, root: &Path, out: &Path) -> Result<String> {
    let root = fs::read_to_string(root)?;
    let config = Arc::new(tls::client(&tls::roots(&root)?, None)?);
    let invitations: Arc<Vec<String>> =
        Arc::new(fs::read_to_string(invitations)?.lines().map(str::to_owned).collect());
    check_pin(&root, invitations.first().context("found no invitation")?)?;
    let workers: Vec<_> = (0..WORKERS)
        .map(|first| {
            let (invitations, config) = (Arc::clone(&invitations), Arc::clone(&config));
            tokio::spawn(async move {
                let mut identities = Vec::new();
                for invitation in invitations.iter().skip(first).step_by(WORKERS) {
                    identities.push(enroll(server, Arc::clone(&config), invitation).await?);
                }
                Result::<_>::Ok(identities)
            })
        })
        .collect();
    let mut identities = Vec::new();
    for worker in workers {
        identities.append(&mut worker.await??);
    }
    let enrolled = identities.len();
    IdentityFile { root, identities }.save(out)?;
    Ok(serde_json::json!({ "enrolled": enrolled }).to_string())
}

fn check_pin(root: &str, invitation: &str) -> Result<()> {
    let pinned = invitation.parse::<Invitation>()?.root_sha256;
    let roots = pem::certificates(root)?;
    let found = roots.iter().any(|root| Sha256::digest(root).as_slice() == pinned);
    ensure!(found, "the root given is not the one the invitations pin");
    Ok(())
}

async fn enroll(server: SocketAddr, config: Arc<ClientConfig>, invitation: &str) -> Result<Identity> {
    let proposal = Proposal::new()?;
    let request = EnrollRequest { invitation: invitation.into(), csr: proposal.csr().into() };
    let body = serde_json::to_vec(&request)?;
    let answer = Connection::open(server, config).await?.post(paths::ENROLL, body.into()).await?;
    if !answer.status.is_success() {
        bail!("not enrolled: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    let CertificateResponse { chain, .. } = serde_json::from_slice(&answer.body)?;
    Ok(Identity { spiffe_id: spiffe_id(&chain)?, key: proposal.key_pem(), chain })
}

/// The URI of the leaf: the invitation does not say whom it is for.
fn spiffe_id(chain: &str) -> Result<String> {
    let chain = pem::certificates(chain)?;
    tls::spiffe_id(chain.first().context("an empty chain")?)
}

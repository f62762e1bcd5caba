//! How soon a revocation is refused by many verifiers at once: each follows the CA by itself, as a service does, and
//! watches over a live connection of the machine that is revoked.

use std::{io::Write as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use countersign_api::{
    admin::{RevokeKind, RevokeRequest},
    paths,
};
use countersign_bench::{Connection, Identity, IdentityFile, Sample, pem};
use countersign_identity::TrustDomain;
use countersign_verifier::{
    LiveTrust, OwnIdentity, PeerRule, ServerAcceptor, ServerBuilder, bundle_from_pem,
};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How long anything here may take at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// Revokes machines one after the other and measures until the last verifier refuses each.
#[derive(Parser)]
struct Options {
    /// The CA's URL.
    #[arg(long)]
    ca: String,
    /// Its admin socket.
    #[arg(long)]
    socket: PathBuf,
    /// Its trust domain.
    #[arg(long)]
    trust_domain: TrustDomain,
    /// Enrolled identities: the first is every service's own, the others are revoked.
    #[arg(long)]
    identities: PathBuf,
    /// Verifiers.
    #[arg(long, default_value_t = 200)]
    verifiers: usize,
    /// Revoked serials that each must know before the first measured revocation.
    #[arg(long, default_value_t = 0)]
    revoked: usize,
}

/// One service's verifier.
struct Verifier {
    live: LiveTrust,
    door: ServerAcceptor,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let file = IdentityFile::load(&options.identities)?;
    let (own, targets) = file.identities.split_first().context("an empty identity file")?;
    let verifiers = follow(&options, &file.root, own)?;
    let begun = Instant::now();
    timeout(PATIENCE, all_know(&verifiers, options.revoked))
        .await
        .context("not all verifiers had the first snapshot in time")?;
    let ready = begun.elapsed();
    let (mut refused, mut answered) = (Vec::new(), Vec::new());
    for target in targets {
        let trial = revoke(&options, &verifiers, target).await?;
        refused.extend(trial.refused);
        answered.push(trial.answered);
    }
    let (refused, answered): (Sample, Sample) =
        (refused.into_iter().collect(), answered.into_iter().collect());
    let figures = json!({
        "verifiers": options.verifiers, "trials": targets.len(), "ready_s": ready.as_secs_f64(),
        "answered_p50_us": answered.percentile(50),
        "refused_p50_us": refused.percentile(50), "refused_p99_us": refused.percentile(99),
        "refused_max_us": refused.percentile(100),
    });
    writeln!(std::io::stdout(), "{figures}")?;
    Ok(())
}

fn follow(options: &Options, root: &str, own: &Identity) -> Result<Vec<Verifier>> {
    let own = OwnIdentity::from_pem(own.chain.as_bytes(), own.key.as_bytes())?;
    (0..options.verifiers)
        .map(|_| {
            let bundle = bundle_from_pem(options.trust_domain.clone(), root.as_bytes())?;
            let live = LiveTrust::anchored(bundle).open()?;
            tokio::spawn(live.clone().follow_ca(options.ca.parse()?, Some(Arc::clone(&own))));
            let rule = PeerRule::trust_domain(options.trust_domain.clone());
            let door = ServerBuilder::new(Arc::clone(&own), live.store()).admit(rule).build()?;
            Ok(Verifier { live, door })
        })
        .collect()
}

/// Waits until every verifier has a snapshot with so many revoked serials.
async fn all_know(verifiers: &[Verifier], revoked: usize) {
    for Verifier { live, .. } in verifiers {
        live.ready().await;
        while live.snapshot().is_none_or(|snapshot| snapshot.revoked_serials() < revoked) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Microseconds from the order: until the CA answered, and until each verifier refused.
struct Trial {
    answered: u64,
    refused: Vec<u64>,
}

async fn revoke(options: &Options, verifiers: &[Verifier], target: &Identity) -> Result<Trial> {
    let chain = pem::certificates(&target.chain)?;
    let mut watching = JoinSet::new();
    for Verifier { door, .. } in verifiers {
        let peer = door.judge(&chain)?;
        let mut vigil = door.vigil(&peer);
        watching.spawn(async move {
            vigil.lost().await;
            Instant::now()
        });
    }
    let mut connection = Connection::unix(&options.socket).await?;
    let order = RevokeRequest {
        kind: RevokeKind::Machine,
        target: target.spiffe_id.clone(),
        reason: Some("benchmark".to_owned()),
        all: false,
        dry_run: false,
    };
    let begun = Instant::now();
    let answer = connection.post(paths::ADMIN_REVOKE, serde_json::to_vec(&order)?.into()).await?;
    let answered = micros(begun.elapsed());
    if !answer.status.is_success() {
        bail!("not revoked: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    let mut refused = Vec::new();
    while let Some(at) = timeout(PATIENCE, watching.join_next()).await.context("a verifier never refused")? {
        refused.push(micros(at?.duration_since(begun)));
    }
    let still = verifiers.iter().filter(|verifier| verifier.door.judge(&chain).is_ok()).count();
    ensure!(still == 0, "{still} verifiers let a revoked machine in");
    Ok(Trial { answered, refused })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

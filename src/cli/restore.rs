//! `restore`: a CA from a backup.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use countersign_api::trust::{IssuersPart, RevokedPart};
use countersign_identity::{Clock as _, TrustBundle, TrustDomain};
use countersign_verifier::{SnapshotFile, SystemClock, Trusted, provider};

use super::{
    CliError, Output,
    init::PassphraseArgs,
    serve::block_on,
    trust_file::{octets, part, payload_of},
};
use crate::{
    service::{BootstrapError, NewerTrust, Restore, RestoreError, RestoredCa},
    signer::Entropy,
};

/// Bring a CA back from a backup, in a new directory and with the root's passphrase.
///
/// The online keys are made anew: an issuer, and a trust signer of the next epoch, so that verifiers take the restored CA's
/// word although its numbers begin lower. What was revoked since the backup stays revoked if a newer trust snapshot says so,
/// one that `countersign bundle export` saved. Machines go on by themselves where that is safe; one that enrolled since the
/// backup waits for `countersign machines approve`. Invitations that were still open are void.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory to make; it must be absent or empty.
    #[arg(long)]
    dir: PathBuf,
    /// A trust snapshot newer than the backup, as `bundle export` writes it: its revocations, issuers and policy are taken
    /// over. Default: none, and then every machine waits for `countersign machines approve`, because nobody knows which were
    /// revoked.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(crate) fn run(args: RestoreArgs, out: &Output) -> Result<(), CliError> {
    let trust = args.trust.as_ref().map(std::fs::read).transpose();
    let trust =
        trust.map_err(|error| CliError::failed(format_args!("cannot read the trust snapshot: {error}")))?;
    let passphrase = args.passphrase.read(false)?;
    let plan = Restore { backup: &args.file, dir: &args.dir, trust: trust.as_deref() };
    let restored =
        block_on(plan.run(&passphrase, &Entropy::system(), &SystemClock, &judge))?.map_err(explain)?;
    show(&args, &restored, out);
    Ok(())
}

/// The verifier that we ship decides what is believed.
fn judge(trust_domain: &TrustDomain, root: &[u8], file: &[u8]) -> Result<NewerTrust, String> {
    let words = |fault: countersign_verifier::SnapshotFault| fault.to_string();
    let file = SnapshotFile::read(file).map_err(words)?;
    let trusted = Trusted::anchored(TrustBundle::new(trust_domain.clone(), vec![root.to_vec()]));
    let judged = trusted.judge(file.jws(), SystemClock.now(), &provider()).map_err(words)?;
    // Every part is now the one that the signed payload names.
    judged.complete(None, file.parts(), &provider()).map_err(words)?;
    let payload = payload_of(file.jws()).ok_or("its payload cannot be read")?;
    let issuers: IssuersPart = part(file.parts(), &payload.issuers.sha256)?;
    let revoked = payload.revoked.iter().map(|of| part::<RevokedPart>(file.parts(), &of.sha256));
    let issuers = issuers.issuers.iter().map(|one| STANDARD.decode(one).map_err(|error| error.to_string()));
    Ok(NewerTrust {
        epoch: payload.epoch,
        sequence: payload.sequence,
        issuers: issuers.collect::<Result<_, _>>()?,
        revoked: revoked.collect::<Result<_, _>>()?,
        policy: String::from_utf8_lossy(octets(file.parts(), &payload.policy.sha256)?).into_owned(),
    })
}

fn show(args: &RestoreArgs, restored: &RestoredCa, out: &Output) {
    let book = restored.book;
    if out.is_json() {
        out.json(&serde_json::json!({
            "trust_domain": restored.trust_domain.as_str(),
            "config": restored.config,
            "epoch": restored.epoch,
            "revoked": book.revoked,
            "held": book.held,
            "invitations_void": book.invitations,
        }));
        return;
    }
    out.success(format_args!("{} is restored in {}", restored.trust_domain, args.dir.display()));
    out.field("trust epoch", restored.epoch);
    out.field("revoked since", book.revoked);
    out.field("machines held", book.held);
    out.field("invitations void", book.invitations);
    if args.trust.is_none() {
        out.caution("without --trust nobody knows what was revoked since the backup: every machine waits for approval");
    }
    if book.held > 0 {
        out.note("what waits: countersign machines list --status held; let one go on: countersign machines approve");
    }
    out.note(format_args!("next: countersign serve --config {}", restored.config.display()));
}

fn explain(error: RestoreError) -> CliError {
    let refused = CliError::refused(&error);
    match &error {
        RestoreError::Place(BootstrapError::NotEmpty { .. }) => {
            refused.hint("choose another --dir, or look at what is there: restore never overwrites a CA")
        }
        RestoreError::Trust(_) | RestoreError::TrustIsOlder { .. } => {
            refused.hint("a timer that runs `countersign bundle export` every minute to another disk always has a newer one")
        }
        RestoreError::Events { backup, name, .. } => CliError::failed(&error).hint(format_args!(
            "`tar --delete --file {} {name}` takes it out of the backup, and everything else comes back",
            backup.display()
        )),
        RestoreError::Backup { .. } | RestoreError::Passphrase { .. } | RestoreError::Memory => refused,
        _ => CliError::failed(&error),
    }
}

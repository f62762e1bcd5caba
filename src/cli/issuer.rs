//! `countersign issuer list|rotate`.

use clap::{Args, Subcommand};
use countersign_api::{
    admin::{Issuer, Page},
    paths,
};
use countersign_verifier::SystemClock;

use super::{CaArgs, CliError, Output, error::Kind, init::PassphraseArgs, serve::block_on};
use crate::{service, signer::Entropy};

/// See the issuers, and make a new one with the root's passphrase.
#[derive(Debug, Args)]
pub(crate) struct IssuerArgs {
    #[command(subcommand)]
    command: IssuerCommand,
}

#[derive(Debug, Subcommand)]
enum IssuerCommand {
    /// List the issuers of this CA: the one that signs, and older ones that are still trusted.
    List(ListArgs),
    /// Make a new issuer for 90 days, and a new trust signer; the old one stays trusted until it ends.
    ///
    /// A running CA takes it up at once, a stopped one at its next start; one whose issuer has ended starts again only after
    /// this. Run it as the CA's user, or as root.
    Rotate(RotateArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    ca: CaArgs,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    ca: CaArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(crate) fn run(args: IssuerArgs, out: &Output) -> Result<(), CliError> {
    match args.command {
        IssuerCommand::List(args) => list(&args, out),
        IssuerCommand::Rotate(args) => rotate(&args, out),
    }
}

fn list(args: &ListArgs, out: &Output) -> Result<(), CliError> {
    let page: Page<Issuer> = args.ca.connect()?.get(paths::ADMIN_ISSUERS)?;
    show(&page.items, out);
    Ok(())
}

/// The root's key is opened here, in the operator's own process: the passphrase never travels to the server.
fn rotate(args: &RotateArgs, out: &Output) -> Result<(), CliError> {
    let config = args.ca.load()?;
    // A CA whose issuer has ended does not start, so rotating must work without one.
    let running = match args.ca.connect_here() {
        Ok(client) => Some((client.get::<Page<Issuer>>(paths::ADMIN_ISSUERS)?, client)),
        Err(error) if error.kind() == Kind::Unreachable => None,
        Err(error) => return Err(error),
    };
    let passphrase = args.passphrase.read(false)?;
    let entropy = Entropy::system();
    block_on(service::rotate_issuer(&config, &passphrase, &entropy, &SystemClock))?
        .map_err(CliError::failed)?;
    let Some((before, client)) = running else {
        if out.is_json() {
            out.json(&serde_json::json!({ "taken_up": "at the next start" }));
        } else {
            out.success(
                "a new issuer is made; the CA is not running and signs with it from its next start on",
            );
        }
        return Ok(());
    };
    let page: Page<Issuer> = client.post(paths::ADMIN_ISSUERS_ADOPT, &serde_json::json!({}))?;
    if page.items.first() == before.items.first() {
        return Err(CliError::failed("the CA did not take up the new issuer").hint("look at its log"));
    }
    if !out.is_json() {
        out.success("a new issuer signs; machines move to it at their next renewal");
    }
    show(&page.items, out);
    Ok(())
}

fn show(issuers: &[Issuer], out: &Output) {
    if out.is_json() {
        out.json(&issuers);
        return;
    }
    let rows = issuers
        .iter()
        .map(|i| {
            vec![
                i.serial.clone(),
                i.state.clone(),
                out.when(&i.not_after),
                format!("{} %", i.life_left_percent),
                i.key.chars().take(16).collect(),
            ]
        })
        .collect();
    out.table(&["serial", "state", "ends", "life left", "key"], rows);
}

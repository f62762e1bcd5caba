//! `reload`: the running CA reads its configuration again.

use clap::Args;
use countersign_api::{admin::ReloadResponse, paths};

use super::{CaArgs, CliError, Output};

/// Have the running CA read its configuration again: limits, profiles, log level, TLS groups.
///
/// All or nothing. A change of trust domain, state, listeners or keys refuses the whole reload and names the key that
/// needs a restart.
#[derive(Args, Debug)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: ReloadArgs, out: &Output) -> Result<(), CliError> {
    let answer: ReloadResponse = args.ca.connect_here()?.post(paths::ADMIN_RELOAD, &serde_json::json!({}))?;
    if out.is_json() {
        out.json(&answer);
    } else if answer.changed.is_empty() {
        out.line("reloaded; nothing has changed");
    } else {
        out.line(format_args!("reloaded; changed: {}", answer.changed.join(", ")));
    }
    Ok(())
}

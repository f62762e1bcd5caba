//! What an act reaches, and the question before it reaches several machines at once.

use countersign_api::admin::ActResponse;
use countersign_identity::SpiffeId;
use serde::Serialize;

use super::{CliError, Client, Output};

/// How an act is described to the person.
pub(crate) struct Act<'a> {
    /// `suspend`, `revoke` …
    pub(crate) verb: &'a str,
    /// What happens to the machines: `suspended`, `revoked` …
    pub(crate) done: &'a str,
    /// What the caller named.
    pub(crate) target: &'a str,
    /// `--all` was given.
    pub(crate) all: bool,
    /// `--dry-run` was given.
    pub(crate) dry_run: bool,
}

/// Performs the act; `request(all, dry_run)` makes its body. A SPIFFE ID that names several machines is shown first and
/// needs a yes, or `--all` where nobody can answer.
pub(crate) fn perform<B: Serialize>(
    act: &Act<'_>,
    client: &Client,
    path: &str,
    request: impl Fn(bool, bool) -> B,
    out: &Output,
) -> Result<(), CliError> {
    let mut all = act.all;
    if act.dry_run {
        let reached: ActResponse = client.post(path, &request(true, true))?;
        show(&reached, format_args!("would be {}", act.done), out);
        return Ok(());
    }
    if !all && act.target.parse::<SpiffeId>().is_ok() {
        let reached: ActResponse = client.post(path, &request(true, true))?;
        if reached.machines.len() > 1 {
            agree(act, &reached, out)?;
            all = true;
        }
    }
    let reached: ActResponse = client.post(path, &request(all, false))?;
    show(&reached, act.done, out);
    Ok(())
}

fn agree(act: &Act<'_>, reached: &ActResponse, out: &Output) -> Result<(), CliError> {
    let count = reached.machines.len();
    let question = format!(
        "{} names {count} machines: {}\n{} all of them?",
        act.target,
        reached.machines.join(", "),
        capitalised(act.verb)
    );
    match out.confirm(question) {
        Some(true) => Ok(()),
        Some(false) => Err(CliError::refused("nothing was done")),
        None => {
            Err(CliError::refused(format_args!("{} names {count} machines, so nothing was done", act.target))
                .hint("name one machine by its id (`countersign machines list`), or give --all"))
        }
    }
}

fn show(reached: &ActResponse, done: impl std::fmt::Display, out: &Output) {
    if out.is_json() {
        out.json(reached);
        return;
    }
    for machine in &reached.machines {
        out.line(format_args!("{machine} {done}"));
    }
    for workload in &reached.workloads {
        out.line(format_args!("{workload} {done}: a workload of it"));
    }
    for serial in &reached.serials {
        out.line(format_args!("certificate {serial} {done}"));
    }
    // Acts on machines do not say which certificates they end.
    let reached: Vec<_> = [(reached.machines.len(), "machine"), (reached.serials.len(), "live certificate")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| count(n, what))
        .collect();
    out.line(format_args!(
        "reached: {}",
        if reached.is_empty() { "nothing".to_owned() } else { reached.join(", ") }
    ));
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

//! `machines`: the holders that enrolled.

use std::time::Duration;

use clap::{Args, Subcommand};
use countersign_api::{
    ProblemCode,
    admin::{Machine, MachineAct, MachineActRequest},
    paths,
};
use countersign_identity::{MachineId, SpiffeId, duration};

use super::{
    CaArgs, CliError, Client, Output,
    client::Query,
    listing,
    reach::{self, Act},
};

/// See machines, the holders that enrolled; suspend, resume, approve and remove them, make them renew, let them come back.
#[derive(Args, Debug)]
pub(crate) struct MachinesArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: MachinesCommand,
}

#[derive(Debug, Subcommand)]
enum MachinesCommand {
    /// List machines.
    List {
        /// Only machines of this identity. Default: all.
        #[arg(long, value_name = "SPIFFE-ID")]
        spiffe_id: Option<SpiffeId>,
        /// Only machines with this status: active, held, suspended, removed, replaced or revoked. Default: all.
        #[arg(long, value_name = "STATUS", value_parser = STATUSES)]
        status: Option<String>,
        /// Stop after this many. Default: all.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show one machine, or every machine of an identity.
    Show {
        /// The machine's id, m-…, or a SPIFFE ID for all its machines (with --json an array).
        #[arg(value_name = "MACHINE|SPIFFE-ID", value_parser = machine_or_identity)]
        target: String,
    },
    /// Refuse a machine every renewal until it is resumed.
    Suspend(Target),
    /// Take a suspension back.
    Resume(Target),
    /// Let a held machine renew again.
    Approve(Target),
    /// Forget a machine: its certificates are revoked, and only a new invitation brings it back.
    Remove(Target),
    /// Let a machine come back by itself once more after its certificate has expired.
    ResetRecovery(Target),
    /// Let machines renew now, whatever their window says: a key may have leaked, or an issuer ends early.
    Renew {
        #[command(flatten)]
        target: Target,
        /// How long all of them have; each gets its own moment within. Agents ask every five minutes.
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
        within: Duration,
    },
}

const STATUSES: [&str; 6] = ["active", "held", "suspended", "removed", "replaced", "revoked"];

#[derive(Args, Debug)]
struct Target {
    /// A machine's id, or a SPIFFE ID for all its machines.
    #[arg(value_name = "MACHINE|SPIFFE-ID", value_parser = machine_or_identity)]
    target: String,
    /// Why; written into the event. Default: no reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Reach every machine of a SPIFFE ID without asking. Default: ask, or refuse where nobody can answer.
    #[arg(long)]
    all: bool,
    /// Only say what would happen. Default: do it.
    #[arg(long)]
    dry_run: bool,
}

#[cfg(test)]
impl MachinesArgs {
    pub(crate) fn config(&self) -> Option<&std::path::Path> {
        self.ca.config.as_deref()
    }
}

/// Checks the shape here, so that a typing mistake is a usage error and not an unknown machine.
pub(crate) fn machine_or_identity(text: &str) -> Result<String, String> {
    if text.starts_with("spiffe:") {
        return text.parse::<SpiffeId>().map(|id| id.to_string()).map_err(|error| error.to_string());
    }
    text.parse::<MachineId>().map(|id| id.to_string()).map_err(|error| error.to_string())
}

pub(crate) fn run(args: MachinesArgs, out: &Output) -> Result<(), CliError> {
    match args.command {
        MachinesCommand::List { spiffe_id, status, limit } => {
            let query = Query::default().with("spiffe_id", spiffe_id).with("status", status);
            listing::show(&args.ca.connect()?, paths::ADMIN_MACHINES, &query, limit, out, table(out))
        }
        MachinesCommand::Show { target } => show(&args.ca, &target, out),
        MachinesCommand::Suspend(target) => {
            act(&args.ca, (MachineAct::Suspend, None), ("suspend", "suspended"), &target, out)
        }
        MachinesCommand::Resume(target) => {
            act(&args.ca, (MachineAct::Resume, None), ("resume", "resumed"), &target, out)
        }
        MachinesCommand::Approve(target) => {
            act(&args.ca, (MachineAct::Approve, None), ("approve", "approved"), &target, out)
        }
        MachinesCommand::Remove(target) => {
            act(&args.ca, (MachineAct::Remove, None), ("remove", "removed"), &target, out)
        }
        MachinesCommand::ResetRecovery(target) => {
            act(&args.ca, (MachineAct::ResetRecovery, None), ("reset", "reset"), &target, out)
        }
        MachinesCommand::Renew { target, within } => {
            let kind = (MachineAct::Renew, Some(within.as_secs()));
            act(&args.ca, kind, ("hurry", "told to renew"), &target, out)
        }
    }
}

fn table(out: &Output) -> (&'static [&'static str], impl Fn(&Machine) -> Vec<String>) {
    let row = |machine: &Machine| {
        vec![
            machine.machine.clone(),
            machine.spiffe_id.clone(),
            machine.status.clone(),
            machine.profile.clone(),
            out.distance(&machine.last_seen),
            out.distance(&machine.not_after),
        ]
    };
    (&["machine", "SPIFFE ID", "status", "profile", "last seen", "certificate ends"], row)
}

fn show(ca: &CaArgs, target: &str, out: &Output) -> Result<(), CliError> {
    let client = ca.connect()?;
    if target.parse::<SpiffeId>().is_ok() {
        return show_all(&client, target, out);
    }
    let machine: Machine = listing::one(&client, paths::ADMIN_MACHINES, ("machine", target), "machine")?;
    if out.is_json() {
        out.json(&machine);
    } else {
        show_one(&machine, out);
    }
    Ok(())
}

fn show_all(client: &Client, id: &str, out: &Output) -> Result<(), CliError> {
    let mut machines = Vec::new();
    let query = Query::default().with("spiffe_id", Some(id));
    client.each(paths::ADMIN_MACHINES, &query, None, |machine: Machine| {
        machines.push(machine);
        Ok(())
    })?;
    if machines.is_empty() {
        return Err(CliError::refused(format_args!("no machine of {id} is known"))
            .hint(format_args!("`countersign invite {id}` lets one enroll")));
    }
    if out.is_json() {
        out.json(&machines);
        return Ok(());
    }
    for (n, machine) in machines.iter().enumerate() {
        if n > 0 {
            out.line("");
        }
        show_one(machine, out);
    }
    Ok(())
}

fn show_one(machine: &Machine, out: &Output) {
    out.field("machine", &machine.machine);
    out.field("SPIFFE ID", &machine.spiffe_id);
    out.field("status", &machine.status);
    out.field("profile", &machine.profile);
    out.field("lineage", &machine.lineage);
    out.field("confirmed", &machine.confirmed);
    if let Some(pending) = &machine.pending {
        out.field("pending", pending);
    }
    out.field("enrolled", out.when(&machine.enrolled));
    out.field("last seen", out.when(&machine.last_seen));
    out.field("ends", out.when(&machine.not_after));
    if let Some(parent) = &machine.parent {
        out.field("workload of", parent);
    }
    if let Some(source) = &machine.last_source {
        out.field("last from", source);
    }
    if let Some(by) = &machine.renew_by {
        out.field("told to renew", format_args!("by {}", out.when(by)));
    }
    show_deployment(machine, out);
    show_recovery(machine, out);
}

/// What its agent saw being served, against what it was given.
fn show_deployment(machine: &Machine, out: &Output) {
    let Some(seen) = &machine.deployed else { return };
    let newest = machine.pending.as_ref().unwrap_or(&machine.confirmed);
    let place = format!("{} at {}, {}", seen.serial, seen.address, out.when(&seen.at));
    if seen.serial == *newest {
        out.field("deployed", place);
    } else {
        out.field("deployed", format_args!("{place}: issued but not deployed: {newest}"));
    }
}

fn show_recovery(machine: &Machine, out: &Output) {
    let Some(recovery) = &machine.recovery else { return };
    let said = match (recovery.barred, recovery.asked, &recovery.used) {
        (true, _, _) => "barred: a second holder was seen, or a certificate was revoked".to_owned(),
        (_, true, _) => "asked for; `countersign machines approve` lets it come back".to_owned(),
        (_, _, Some(used)) => {
            format!("used {}; `countersign machines reset-recovery` allows another", out.when(used))
        }
        _ => return,
    };
    out.field("recovery", said);
}

fn act(
    ca: &CaArgs,
    (kind, within_seconds): (MachineAct, Option<u64>),
    (verb, done): (&str, &str),
    target: &Target,
    out: &Output,
) -> Result<(), CliError> {
    let act = Act { verb, done, target: &target.target, all: target.all, dry_run: target.dry_run };
    let request = |all, dry_run| MachineActRequest {
        target: target.target.clone(),
        act: kind,
        reason: target.reason.clone(),
        all,
        dry_run,
        within_seconds,
    };
    reach::perform(&act, &ca.connect()?, paths::ADMIN_MACHINES_ACT, request, out)
        .map_err(|error| with_the_other_act(error, kind, &target.target))
}

/// Held and suspended look alike from outside, and each is taken back by an act of its own.
fn with_the_other_act(error: CliError, kind: MachineAct, target: &str) -> CliError {
    let other = match (kind, error.is(ProblemCode::MachineStatus)) {
        (MachineAct::Approve, true) => "a suspension is taken back with `countersign machines resume",
        (MachineAct::Resume, true) => "a hold is taken back with `countersign machines approve",
        _ => return error,
    };
    error.hint(format_args!("{other} {target}`"))
}

//! `machines`: the holders that enrolled.

use clap::{Args, Subcommand};
use countersign_api::{
    ProblemCode,
    admin::{Machine, MachineAct, MachineActRequest},
    paths,
};
use countersign_identity::{MachineId, SpiffeId};

use super::{
    CaArgs, CliError, Client, Output,
    client::Query,
    listing,
    reach::{self, Act},
};

/// See, suspend, resume, approve and remove machines: the holders that enrolled.
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
            act(&args.ca, MachineAct::Suspend, ("suspend", "suspended"), &target, out)
        }
        MachinesCommand::Resume(target) => {
            act(&args.ca, MachineAct::Resume, ("resume", "resumed"), &target, out)
        }
        MachinesCommand::Approve(target) => {
            act(&args.ca, MachineAct::Approve, ("approve", "approved"), &target, out)
        }
        MachinesCommand::Remove(target) => {
            act(&args.ca, MachineAct::Remove, ("remove", "removed"), &target, out)
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
}

fn act(
    ca: &CaArgs,
    kind: MachineAct,
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

//! `issued`: the certificates that were issued and have not expired.

use std::{collections::HashSet, time::Duration};

use clap::{Args, Subcommand};
use countersign_api::{
    admin::{Issued, Machine},
    paths,
};
use countersign_identity::{MachineId, Serial, SpiffeId, duration};

use super::{CaArgs, CliError, Client, Output, client::Query, listing};

/// See the certificates that were issued and have not expired.
#[derive(Args, Debug)]
pub(crate) struct IssuedArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: IssuedCommand,
}

#[derive(Debug, Subcommand)]
enum IssuedCommand {
    /// List certificates that have not expired.
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one certificate, with its PEM text.
    Show {
        /// The certificate's serial number, hex.
        #[arg(value_name = "SERIAL", value_parser = serial)]
        serial: Serial,
    },
    /// List the machines that will soon be without a certificate: the newest of each, if it ends soon.
    ///
    /// A machine that has renewed already is not among them, and neither is the CA itself. What stays here while the agents
    /// run is a machine that cannot renew.
    Expiring {
        /// How soon, such as 10m.
        #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration::parse)]
        within: Duration,
        #[command(flatten)]
        filter: Filter,
    },
}

#[derive(Args, Debug)]
struct Filter {
    /// Only certificates of this identity. Default: all.
    #[arg(long, value_name = "SPIFFE-ID")]
    spiffe_id: Option<SpiffeId>,
    /// Only certificates of this machine. Default: all.
    #[arg(long, value_name = "MACHINE")]
    machine: Option<MachineId>,
    /// Only certificates with this status: live, intended or revoked. Default: all.
    #[arg(long, value_name = "STATUS", value_parser = ["live", "intended", "revoked"])]
    status: Option<String>,
    /// Stop after this many. Default: all.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// A serial as any tool prints it: `openssl` in upper case, browsers with colons.
pub(crate) fn serial(text: &str) -> Result<Serial, String> {
    text.replace(':', "")
        .to_ascii_lowercase()
        .parse()
        .map_err(|error: countersign_identity::SerialError| error.to_string())
}

pub(crate) fn run(args: IssuedArgs, out: &Output) -> Result<(), CliError> {
    match args.command {
        IssuedCommand::List { filter } => list(&args.ca.connect()?, filter, out),
        IssuedCommand::Expiring { within, filter } => expiring(&args.ca.connect()?, filter, within, out),
        IssuedCommand::Show { serial } => show(&args.ca, serial, out),
    }
}

fn list(client: &Client, filter: Filter, out: &Output) -> Result<(), CliError> {
    let limit = filter.limit;
    listing::show(client, paths::ADMIN_ISSUED, &filter.query(), limit, out, (HEADERS, row(out)))
}

fn expiring(client: &Client, filter: Filter, within: Duration, out: &Output) -> Result<(), CliError> {
    let newest = newest(client, &filter)?;
    let limit = filter.limit;
    let query = filter.query().with("expiring_within_seconds", Some(within.as_secs()));
    let wanted = |issued: &Issued| newest.contains(&issued.serial);
    listing::show_some(client, paths::ADMIN_ISSUED, &query, (limit, wanted), out, (HEADERS, row(out)))
}

/// The newest serial of every machine that may renew, or might if an operator let it.
fn newest(client: &Client, filter: &Filter) -> Result<HashSet<String>, CliError> {
    let query = Query::default()
        .with("spiffe_id", filter.spiffe_id.as_ref())
        .with("machine", filter.machine.as_ref());
    let mut serials = HashSet::new();
    client.each(paths::ADMIN_MACHINES, &query, None, |machine: Machine| {
        if !matches!(machine.status.as_str(), "removed" | "replaced" | "revoked") {
            serials.insert(machine.pending.unwrap_or(machine.confirmed));
        }
        Ok(())
    })?;
    Ok(serials)
}

impl Filter {
    fn query(self) -> Query {
        Query::default()
            .with("spiffe_id", self.spiffe_id)
            .with("machine", self.machine)
            .with("status", self.status)
    }
}

const HEADERS: &[&str] = &["serial", "SPIFFE ID", "machine", "profile", "status", "ends"];

fn row(out: &Output) -> impl Fn(&Issued) -> Vec<String> {
    |issued| {
        vec![
            issued.serial.clone(),
            issued.spiffe_id.clone(),
            issued.machine.clone().unwrap_or_else(|| "the CA".to_owned()),
            issued.profile.clone(),
            issued.status.clone(),
            out.distance(&issued.not_after),
        ]
    }
}

fn show(ca: &CaArgs, serial: Serial, out: &Output) -> Result<(), CliError> {
    let serial = serial.to_string();
    let issued: Issued = listing::one(
        &ca.connect()?,
        paths::ADMIN_ISSUED,
        ("serial", &serial),
        "unexpired certificate with the serial",
    )?;
    if out.is_json() {
        out.json(&issued);
        return Ok(());
    }
    out.field("serial", &issued.serial);
    out.field("SPIFFE ID", &issued.spiffe_id);
    out.field("machine", issued.machine.as_deref().unwrap_or("the CA"));
    out.field("status", &issued.status);
    out.field("profile", &issued.profile);
    out.field("lineage", &issued.lineage);
    out.field("key", &issued.key);
    out.field("not before", out.when(&issued.not_before));
    out.field("not after", out.when(&issued.not_after));
    if let Some(pem) = &issued.certificate {
        out.text(pem);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_taken_as_any_tool_prints_it() {
        let plain = serial("0a1b2c").unwrap();
        assert_eq!(serial("0A1B2C").unwrap(), plain);
        assert_eq!(serial("0a:1b:2c").unwrap(), plain);
        assert!(serial("serial").is_err());
    }
}

//! `issued`: the certificates that were issued and have not expired.

use std::time::Duration;

use clap::{Args, Subcommand};
use countersign_api::{admin::Issued, paths};
use countersign_identity::{MachineId, Serial, SpiffeId, duration};

use super::{CaArgs, CliError, Output, client::Query, listing};

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
    /// List certificates that end soon: machines that renew are not among them.
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
        IssuedCommand::List { filter } => list(&args.ca, filter, None, out),
        IssuedCommand::Expiring { within, filter } => list(&args.ca, filter, Some(within), out),
        IssuedCommand::Show { serial } => show(&args.ca, serial, out),
    }
}

fn list(ca: &CaArgs, filter: Filter, within: Option<Duration>, out: &Output) -> Result<(), CliError> {
    let query = Query::default()
        .with("spiffe_id", filter.spiffe_id)
        .with("machine", filter.machine)
        .with("status", filter.status)
        .with("expiring_within_seconds", within.map(|within| within.as_secs()));
    let row = |issued: &Issued| {
        vec![
            issued.serial.clone(),
            issued.spiffe_id.clone(),
            issued.machine.clone().unwrap_or_else(|| "the CA".to_owned()),
            issued.profile.clone(),
            issued.status.clone(),
            out.distance(&issued.not_after),
        ]
    };
    let headers: &[&str] = &["serial", "SPIFFE ID", "machine", "profile", "status", "ends"];
    listing::show(&ca.connect()?, paths::ADMIN_ISSUED, &query, filter.limit, out, (headers, row))
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

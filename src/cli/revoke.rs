//! `revoke`: the end of a machine, a lineage, a certificate or a key before its time.

use clap::{Args, ValueEnum};
use countersign_api::{
    ProblemCode,
    admin::{Page, RevokeKind, RevokeRequest},
    paths,
};
use countersign_identity::{KeyHash, Lineage, MachineId};
use serde_json::Value;

use super::{
    CaArgs, CliError, Client, Output,
    client::Query,
    issued,
    machines::machine_or_identity,
    reach::{self, Act},
};

/// Revoke a machine, a lineage, a certificate or a key before its time.
///
/// Renewal is refused from now on. Services that follow the CA's trust snapshots cut the holder off at
/// once; others turn it away when its certificate ends.
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// What kind of thing is named.
    #[arg(value_name = "KIND")]
    kind: Kind,

    /// A machine's id or SPIFFE ID, a lineage id, a serial number, or the SHA-256 of a public key, hex.
    #[arg(value_name = "X")]
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

    #[command(flatten)]
    ca: CaArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A machine, or all machines of a SPIFFE ID.
    Machine,
    /// All certificates of one chain of renewals.
    Lineage,
    /// One certificate.
    Serial,
    /// All certificates of one key.
    Key,
}

pub(crate) fn run(args: RevokeArgs, out: &Output) -> Result<(), CliError> {
    let (kind, target) = args.kind.parse(&args.target).map_err(CliError::usage)?;
    let act = Act { verb: "revoke", done: "revoked", target: &target, all: args.all, dry_run: args.dry_run };
    let request = |all, dry_run| RevokeRequest {
        kind,
        target: target.clone(),
        reason: args.reason.clone(),
        all,
        dry_run,
    };
    let client = args.ca.connect()?;
    reach::perform(&act, &client, paths::ADMIN_REVOKE, request, out).map_err(|error| {
        match error.is(ProblemCode::NothingToRevoke) {
            true => nothing_live(error, kind, &target, &client),
            false => error,
        }
    })
}

/// Says so where the target is known and was revoked before.
fn nothing_live(error: CliError, kind: RevokeKind, target: &str, client: &Client) -> CliError {
    let (path, name) = match kind {
        RevokeKind::Machine if target.parse::<MachineId>().is_ok() => (paths::ADMIN_MACHINES, "machine"),
        RevokeKind::Machine => (paths::ADMIN_MACHINES, "spiffe_id"),
        RevokeKind::Serial => (paths::ADMIN_ISSUED, "serial"),
        RevokeKind::Lineage | RevokeKind::Key => return error.hint(NOT_AGAIN),
    };
    let found = client.query::<Page<Value>>(path, &Query::default().with(name, Some(target)));
    let found = found.map(|page| page.items).unwrap_or_default();
    let revoked = |item: &Value| item.get("status").and_then(Value::as_str) == Some("revoked");
    if !found.is_empty() && found.iter().all(revoked) {
        CliError::refused(format_args!("{target} is already revoked"))
    } else {
        error.hint(NOT_AGAIN)
    }
}

const NOT_AGAIN: &str =
    "what has expired or was revoked before is not revoked again; `countersign issued list` shows the rest";

impl Kind {
    /// Checks the shape here, so that a typing mistake is a usage error and not an unknown target.
    fn parse(self, target: &str) -> Result<(RevokeKind, String), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        match self {
            Self::Machine => machine_or_identity(target).map(|text| (RevokeKind::Machine, text)),
            Self::Lineage => target
                .parse::<Lineage>()
                .map(|lineage| (RevokeKind::Lineage, lineage.to_string()))
                .map_err(|error| said(&error)),
            Self::Serial => issued::serial(target).map(|serial| (RevokeKind::Serial, serial.to_string())),
            Self::Key => target
                .to_ascii_lowercase()
                .parse::<KeyHash>()
                .map(|key| (RevokeKind::Key, key.to_string()))
                .map_err(|error| said(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_of_another_kind_is_a_usage_error() {
        assert!(Kind::Machine.parse("l-00").is_err());
        assert!(Kind::Lineage.parse("m-0000000000000000").is_err());
        assert!(Kind::Serial.parse("spiffe://td/a").is_err());
        assert!(Kind::Key.parse("abcd").is_err());
        assert!(Kind::Machine.parse("m-0011223344556677").is_ok());
        assert!(Kind::Machine.parse("spiffe://td/a").is_ok());
    }
}

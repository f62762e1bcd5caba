//! `keys`: API keys, for callers that can hold nothing better than a secret.

use std::time::Duration;

use clap::{Args, Subcommand};
use countersign_api::{
    ApiKeyEntry, ApiKeyMade, ApiKeyRequest, ApiKeyRevokeRequest, ApiKeyRotateRequest, paths,
};
use countersign_identity::{ApiKeyId, SpiffeId, duration};

use super::{CaArgs, CliError, Output, client::Query, listing};

/// See and change API keys: long secrets for callers that can hold no certificate.
///
/// A key speaks for one identity at one service, with a part of what the policy gives that identity there, for at most
/// 90 days. The service asks the CA about it; the caller may exchange it for an access token.
#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and print it, this once and never again.
    ///
    /// The key alone goes to standard output.
    Create {
        /// Whom the key speaks for; it must be registered.
        #[arg(value_name = "SPIFFE-ID")]
        spiffe_id: SpiffeId,
        /// The service where it may be used, by its name in the policy.
        #[arg(long, value_name = "SERVICE")]
        service: String,
        /// What it may do there, such as ledger:read; may be given several times. Default: all that the policy gives the
        /// identity now.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
        /// How long it lives, at most 90d.
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration::parse)]
        ttl: Duration,
        /// What it is for, in free words. Default: nothing is noted.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// List keys, never their secrets.
    List {
        /// Only keys of this identity. Default: all.
        #[arg(long, value_name = "SPIFFE-ID")]
        spiffe_id: Option<SpiffeId>,
        /// Only keys for this service. Default: all.
        #[arg(long, value_name = "SERVICE")]
        service: Option<String>,
        /// Only keys with this status: active, expired, revoked or void. Default: all.
        #[arg(long, value_name = "STATUS", value_parser = ["active", "expired", "revoked", "void"])]
        status: Option<String>,
        /// Stop after this many. Default: all.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Make a key in place of another and print it; the other goes on for a while.
    Rotate {
        /// The key that is replaced.
        #[arg(value_name = "KEY")]
        key: ApiKeyId,
        /// How long the new one lives, at most 90d. Default: as long as the other was made for.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        ttl: Option<Duration>,
        /// How long the other goes on, so that callers can change over.
        #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration::parse)]
        overlap: Duration,
    },
    /// Revoke a key for good: services refuse it as soon as they have the next trust snapshot.
    Revoke {
        /// The key.
        #[arg(value_name = "KEY")]
        key: ApiKeyId,
        /// Why; written into the event. Default: no reason.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

pub(crate) fn run(args: KeysArgs, out: &Output) -> Result<(), CliError> {
    let ca = args.ca;
    match args.command {
        KeysCommand::Create { spiffe_id, service, permissions, ttl, note } => {
            let request = ApiKeyRequest {
                spiffe_id: spiffe_id.to_string(),
                service,
                permissions,
                ttl_seconds: ttl.as_secs(),
                note: note.unwrap_or_default(),
            };
            show_made(&ca.connect()?.post(paths::ADMIN_API_KEYS, &request)?, out);
            Ok(())
        }
        KeysCommand::List { spiffe_id, service, status, limit } => {
            let query =
                Query::default().with("spiffe_id", spiffe_id).with("service", service).with("status", status);
            list(&ca, &query, limit, out)
        }
        KeysCommand::Rotate { key, ttl, overlap } => {
            let request = ApiKeyRotateRequest {
                key: key.to_string(),
                ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
                overlap_seconds: overlap.as_secs(),
            };
            show_made(&ca.connect()?.post(paths::ADMIN_API_KEYS_ROTATE, &request)?, out);
            out.remark(format_args!("{key} goes on for {} at most", duration::format(overlap)));
            Ok(())
        }
        KeysCommand::Revoke { key, reason } => {
            let request = ApiKeyRevokeRequest { key: key.to_string(), reason };
            let revoked: ApiKeyEntry = ca.connect()?.post(paths::ADMIN_API_KEYS_REVOKE, &request)?;
            if out.is_json() {
                out.json(&revoked);
            } else {
                out.line(format_args!("{key} is revoked"));
            }
            Ok(())
        }
    }
}

fn show_made(made: &ApiKeyMade, out: &Output) {
    if out.is_json() {
        out.json(made);
        return;
    }
    out.line(&made.secret);
    let key = &made.key;
    out.remark(format_args!(
        "{} of {} at {}: {}",
        key.key,
        key.spiffe_id,
        key.service,
        key.permissions.join(" ")
    ));
    out.remark(format_args!("it ends {}; this is the only time it is shown", out.when(&key.expires)));
}

fn list(ca: &CaArgs, query: &Query, limit: Option<usize>, out: &Output) -> Result<(), CliError> {
    let row = |key: &ApiKeyEntry| {
        vec![
            key.key.clone(),
            key.spiffe_id.clone(),
            key.service.clone(),
            key.permissions.join(" "),
            key.status.clone(),
            out.distance(&key.expires),
            key.last_used.as_deref().map(|at| out.distance(at)).unwrap_or_default(),
            key.note.clone(),
        ]
    };
    let headers: &[&str] =
        &["key", "SPIFFE ID", "service", "permissions", "status", "ends", "last used", "note"];
    listing::show(&ca.connect()?, paths::ADMIN_API_KEYS, query, limit, out, (headers, row))
}

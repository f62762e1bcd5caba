//! `events`: what happened, as the CA wrote it down.

use clap::{Args, Subcommand};
use countersign_api::{admin::Event, paths};
use serde_json::Value;

use super::{CaArgs, CliError, Output, client::Query, listing};

/// See what happened, as the CA wrote it down.
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List events, oldest first.
    List {
        /// Begin after this sequence number. Default: at the first event.
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
        /// Stop after this many. Default: all.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

pub(crate) fn run(args: EventsArgs, out: &Output) -> Result<(), CliError> {
    let EventsCommand::List { after, limit } = args.command;
    let query = Query::default().with("after", after);
    let headers: &[&str] = &["seq", "time", "kind", "fields"];
    listing::show(&args.ca.connect()?, paths::ADMIN_EVENTS, &query, limit, out, (headers, row))
}

fn row(event: &Event) -> Vec<String> {
    let text = |name: &str| event.fields.get(name).map(plain).unwrap_or_default();
    let rest: Vec<_> = event
        .fields
        .iter()
        .filter(|(name, value)| !matches!(name.as_str(), "v" | "seq" | "time" | "kind") && !value.is_null())
        .map(|(name, value)| format!("{name}={}", plain(value)))
        .collect();
    vec![text("seq"), text("time"), text("kind"), rest.join(" ")]
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_every_field_once() {
        let event: Event =
            serde_json::from_str(r#"{"v":1,"seq":7,"time":"t","kind":"issued","serial":"0a","uses":2}"#)
                .unwrap();
        assert_eq!(row(&event), ["7", "t", "issued", "serial=0a uses=2"]);
    }
}

//! `events`: what happened, as the CA wrote it down.

use std::{thread, time::Duration};

use clap::{Args, Subcommand};
use countersign_api::{
    admin::{Event, Page, Status},
    paths,
};
use serde_json::Value;

use super::{CaArgs, CliError, Client, Output, client::Query, listing};

/// Between two looks: a person notices no difference, the CA neither.
const PACE: Duration = Duration::from_millis(500);

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
    /// List events, oldest first: from the archive, then from the book.
    List {
        /// Begin after this sequence number. Default: at the first event.
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
        /// Stop after this many. Default: all.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Print events as they happen, one a line (with --json one JSON object a line), until interrupted.
    Follow {
        /// Begin after this sequence number. Default: at the next event.
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
    },
}

pub(crate) fn run(args: EventsArgs, out: &Output) -> Result<(), CliError> {
    match args.command {
        EventsCommand::List { after, limit } => {
            let query = Query::default().with("after", after);
            let headers: &[&str] = &["seq", "time", "kind", "fields"];
            let client = args.ca.connect()?;
            remark_on_beginning(&client, &query, first_behind(after), out)?;
            listing::show(&client, paths::ADMIN_EVENTS, &query, limit, out, (headers, row))
        }
        EventsCommand::Follow { after } => follow(&args.ca, after, out),
    }
}

/// The number of the event that a list behind `after` begins with.
fn first_behind(after: Option<u64>) -> u64 {
    after.unwrap_or_default().saturating_add(1)
}

/// Old files may have been moved away: then the list begins later than it was asked to.
fn remark_on_beginning(client: &Client, query: &Query, expected: u64, out: &Output) -> Result<(), CliError> {
    let first: Page<Event> = client.query(paths::ADMIN_EVENTS, &query.clone().with("limit", Some(1)))?;
    if let Some(found) = first.items.first().and_then(seq).filter(|found| *found > expected) {
        out.remark(format_args!(
            "events {expected} to {} are not here any more: their files were moved away",
            found - 1
        ));
    }
    Ok(())
}

fn seq(event: &Event) -> Option<u64> {
    event.fields.get("seq").and_then(Value::as_u64)
}

/// Ends when the CA does, or when nobody reads any more.
fn follow(ca: &CaArgs, after: Option<u64>, out: &Output) -> Result<(), CliError> {
    let client = ca.connect()?;
    let mut after = match after {
        Some(after) => after,
        None => client.get::<Status>(paths::ADMIN_STATUS)?.events,
    };
    while !out.is_unread() {
        let page: Page<Event> =
            client.query(paths::ADMIN_EVENTS, &Query::default().with("after", Some(after)))?;
        for event in &page.items {
            if out.is_json() {
                out.json_line(&event.fields);
            } else {
                out.line(row(event).join("  "));
            }
            after = seq(event).unwrap_or(after);
        }
        if page.next.is_none() {
            thread::sleep(PACE);
        }
    }
    Ok(())
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
    fn a_list_behind_the_last_number_there_is_begins_nowhere_else() {
        for (after, first) in [(None, 1), (Some(7), 8), (Some(u64::MAX), u64::MAX)] {
            assert_eq!(first_behind(after), first);
        }
    }

    #[test]
    fn a_row_holds_every_field_once() {
        let event: Event =
            serde_json::from_str(r#"{"v":1,"seq":7,"time":"t","kind":"issued","serial":"0a","uses":2}"#)
                .unwrap();
        assert_eq!(row(&event), ["7", "t", "issued", "serial=0a uses=2"]);
    }
}

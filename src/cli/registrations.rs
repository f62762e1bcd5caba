//! `registrations`: which identities may have certificates.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use countersign_api::{
    admin::{Page, Registration},
    paths,
};
use countersign_identity::SpiffeId;

use super::{
    CaArgs, CliError, Client, Output,
    client::Query,
    import, listing,
    result_file::{Existing, ResultFile},
    stated::StatedRegistration,
    token_keys::{self, AddKey, RemoveKey},
};

/// See and change registrations: which identities may have certificates.
#[derive(Args, Debug)]
pub(crate) struct RegistrationsArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: RegistrationsCommand,
}

#[derive(Debug, Subcommand)]
enum RegistrationsCommand {
    /// List registrations.
    List {
        /// Stop after this many. Default: all.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show one registration.
    Show {
        /// The identity.
        #[arg(value_name = "SPIFFE-ID")]
        spiffe_id: SpiffeId,
    },
    /// Make a registration, or replace one: what is not stated returns to its default, and keys stay.
    ///
    /// A tightened registration ends existing certificates at their next renewal.
    Set {
        #[command(flatten)]
        stated: StatedRegistration,
        /// Change only what is stated. Default: replace the whole.
        #[arg(long)]
        keep: bool,
    },
    /// Remove a registration: nothing is issued or renewed under it any more.
    Remove {
        /// The identity.
        #[arg(value_name = "SPIFFE-ID")]
        spiffe_id: SpiffeId,
    },
    /// Let the identity prove itself to the authorization server by a key that is in no certificate (`private_key_jwt`).
    AddKey(AddKey),
    /// Take such a key away.
    RemoveKey(RemoveKey),
    /// Take registrations from a file: JSON Lines, as `export` writes them, or one JSON array.
    ///
    /// Registrations that are there with other values are replaced; none is removed. They go in groups of 10,000,
    /// each all or nothing.
    Import {
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only say what would happen. Default: do it.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write all registrations to a file, one JSON object a line, replacing it in one step.
    Export {
        /// The file; `-` is standard output.
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
}

pub(crate) fn run(args: RegistrationsArgs, out: &Output) -> Result<(), CliError> {
    let ca = args.ca;
    match args.command {
        RegistrationsCommand::List { limit } => list(&ca, limit, out),
        RegistrationsCommand::Show { spiffe_id } => show(&ca, &spiffe_id, out),
        RegistrationsCommand::Set { stated, keep } => set(&ca, stated, keep, out),
        RegistrationsCommand::Remove { spiffe_id } => remove(&ca, &spiffe_id, out),
        RegistrationsCommand::AddKey(key) => token_keys::add(&ca, key, out),
        RegistrationsCommand::RemoveKey(key) => token_keys::remove(&ca, &key, out),
        RegistrationsCommand::Import { file, dry_run } => import::run(&ca, &file, dry_run, out),
        RegistrationsCommand::Export { file } => export(&ca, &file, out),
    }
}

fn list(ca: &CaArgs, limit: Option<usize>, out: &Output) -> Result<(), CliError> {
    let row = |registration: &Registration| {
        let names: Vec<_> = registration.dns.iter().chain(&registration.ip).map(String::as_str).collect();
        vec![
            registration.spiffe_id.clone(),
            registration.profile.clone(),
            names.join(" "),
            registration.machines.clone(),
            registration.owner.clone().unwrap_or_default(),
            registration.until.as_deref().map(|until| out.distance(until)).unwrap_or_default(),
        ]
    };
    let headers: &[&str] = &["SPIFFE ID", "profile", "names", "machines", "owner", "until"];
    listing::show(&ca.connect()?, paths::ADMIN_REGISTRATIONS, &Query::default(), limit, out, (headers, row))
}

fn show(ca: &CaArgs, id: &SpiffeId, out: &Output) -> Result<(), CliError> {
    let registration: Registration =
        listing::one(&ca.connect()?, paths::ADMIN_REGISTRATIONS, ("id", id.as_str()), "registration of")?;
    if out.is_json() {
        out.json(&registration);
        return Ok(());
    }
    for (name, value) in fields(&registration) {
        if name == "until" || name == "created" {
            out.field(name, out.when(&value));
        } else {
            out.field(name, value);
        }
    }
    Ok(())
}

fn set(ca: &CaArgs, stated: StatedRegistration, keep: bool, out: &Output) -> Result<(), CliError> {
    let client = ca.connect()?;
    let before = present(&client, stated.spiffe_id())?;
    let mut after = match before.as_ref().filter(|_| keep) {
        Some(before) => stated.over(before),
        None => stated.into_registration(),
    };
    after.token_keys = before.as_ref().map(|one| one.token_keys.clone()).unwrap_or_default();
    client.put(paths::ADMIN_REGISTRATIONS, &after)?;
    if out.is_json() {
        out.json(&after);
        return Ok(());
    }
    let Some(before) = before else {
        out.line(format_args!("{} is registered", after.spiffe_id));
        return Ok(());
    };
    let changes = differences(&before, &after);
    if changes.is_empty() {
        out.line(format_args!("{} was registered so already", after.spiffe_id));
    }
    for change in changes {
        out.line(change);
    }
    Ok(())
}

fn present(client: &Client, id: &SpiffeId) -> Result<Option<Registration>, CliError> {
    let page: Result<Page<Registration>, _> =
        client.query(paths::ADMIN_REGISTRATIONS, &Query::default().with("id", Some(id)));
    match page {
        Ok(page) => Ok(page.items.into_iter().next()),
        Err(error) if error.is(countersign_api::ProblemCode::RegistrationUnknown) => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(ca: &CaArgs, id: &SpiffeId, out: &Output) -> Result<(), CliError> {
    ca.connect()?.delete(paths::ADMIN_REGISTRATIONS, &Query::default().with("id", Some(id)))?;
    if out.is_json() {
        out.json(&serde_json::json!({ "removed": id.as_str() }));
        return Ok(());
    }
    out.line(format_args!("{id} is registered no more"));
    out.note(format_args!(
        "its certificates end by themselves, at the latest at their next renewal; `countersign revoke machine {id}` ends \
         them now"
    ));
    Ok(())
}

fn export(ca: &CaArgs, file: &Path, out: &Output) -> Result<(), CliError> {
    let client = ca.connect()?;
    if file == Path::new("-") {
        return write_lines(&client, |line| {
            out.line(line);
            Ok(())
        });
    }
    let mut to = ResultFile::begin(file, 0o600, Existing::Replace)?;
    let mut count = 0_u64;
    write_lines(&client, |line| {
        count += 1;
        writeln!(to, "{line}")
            .map_err(|error| CliError::failed(format_args!("cannot write {}: {error}", file.display())))
    })?;
    to.finish()?;
    if out.is_json() {
        out.json(&serde_json::json!({ "file": file, "registrations": count }));
        return Ok(());
    }
    out.remark(format_args!("{} holds {count} registrations", file.display()));
    Ok(())
}

fn write_lines(client: &Client, mut to: impl FnMut(&str) -> Result<(), CliError>) -> Result<(), CliError> {
    client.each(paths::ADMIN_REGISTRATIONS, &Query::default(), None, |registration: Registration| {
        to(&serde_json::to_string(&registration).map_err(CliError::failed)?)
    })
}

/// What `set` changed, a line each: `dns: a.example → b.example`.
fn differences(before: &Registration, after: &Registration) -> Vec<String> {
    let (before, after) = (fields(before), fields(after));
    let names = before.iter().chain(&after).map(|(name, _)| *name).filter(|name| *name != "created");
    let mut lines = Vec::new();
    for name in names {
        let of = |fields: &[(&'static str, String)]| {
            fields.iter().find(|(other, _)| *other == name).map_or_else(
                || if name == "tokens" { "bound" } else { "none" }.to_owned(),
                |(_, value)| value.clone(),
            )
        };
        let line = format!("{name}: {} → {}", of(&before), of(&after));
        if of(&before) != of(&after) && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// The fields that have a value, in the order people read them.
fn fields(registration: &Registration) -> Vec<(&'static str, String)> {
    let many = |values: &[String]| (!values.is_empty()).then(|| values.join(" "));
    [
        ("SPIFFE ID", Some(registration.spiffe_id.clone())),
        ("profile", Some(registration.profile.clone())),
        ("dns", many(&registration.dns)),
        ("ip", many(&registration.ip)),
        ("until", registration.until.clone()),
        ("owner", registration.owner.clone()),
        ("machines", Some(registration.machines.clone())),
        ("tokens", (registration.tokens != "bound").then(|| registration.tokens.clone())),
        ("keys", token_keys::listed(&registration.token_keys)),
        ("shared", registration.shared.then(|| "yes".to_owned())),
        ("parent", registration.parent.clone()),
        ("selectors", many(&registration.selectors)),
        ("created", registration.created.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| (name, value)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(more: &str) -> Registration {
        serde_json::from_str(&format!(r#"{{"spiffe_id":"spiffe://td/a"{more}}}"#)).unwrap()
    }

    #[test]
    fn what_set_changes_is_named_field_by_field() {
        let before = registration(r#","dns":["a.example"],"created":"t"}"#.trim_end_matches('}'));
        let after = registration(r#","dns":["b.example"],"owner":"me""#);
        assert_eq!(differences(&before, &after), ["dns: a.example → b.example", "owner: none → me"]);
        assert_eq!(differences(&before, &before), Vec::<String>::new());
    }
}

//! `bundle`: the roots that others verify our machines with, and trust in one file.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use countersign_api::{Bundle, paths};

use super::{
    CaArgs, CliError, Output,
    result_file::{Existing, ResultFile},
};

/// See or save what others verify our machines with: the roots, or the whole trust snapshot.
#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Print the roots: PEM, or with --json a SPIFFE bundle (JWKS).
    Show,
    /// Save the newest trust snapshot with all its parts to one file, replacing it in one step.
    ///
    /// The file is signed and carries everything a verifier needs for as long as it is fresh: roots, issuers, revocations and
    /// the policy. A file whose name ends in .pem gets the roots alone, in PEM, for tools that know no more.
    Export {
        /// The file; `-` is standard output.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(crate) fn run(args: BundleArgs, out: &Output) -> Result<(), CliError> {
    match args.command {
        BundleCommand::Show => show(&args.ca, out),
        BundleCommand::Export { file } => export(&args.ca, &file, out),
    }
}

fn show(ca: &CaArgs, out: &Output) -> Result<(), CliError> {
    let client = ca.connect()?;
    if out.is_json() {
        out.json(&client.get::<Bundle>(paths::BUNDLE)?);
    } else {
        out.text(client.get_text(paths::BUNDLE, "application/x-pem-file")?);
    }
    Ok(())
}

fn export(ca: &CaArgs, file: &Path, out: &Output) -> Result<(), CliError> {
    let client = ca.connect()?;
    let (what, text) = if file.extension() == Some(OsStr::new("pem")) {
        ("the roots", client.get_text(paths::BUNDLE, "application/x-pem-file")?)
    } else {
        ("the trust snapshot", client.get_text(paths::ADMIN_TRUST, "application/json")?)
    };
    if file == Path::new("-") {
        out.text(text);
        return Ok(());
    }
    let mut to = ResultFile::begin(file, 0o644, Existing::Replace)?;
    to.write_all(text.as_bytes())
        .map_err(|error| CliError::failed(format_args!("cannot write {}: {error}", file.display())))?;
    to.finish()?;
    if out.is_json() {
        out.json(&serde_json::json!({ "file": file, "octets": text.len() }));
        return Ok(());
    }
    out.remark(format_args!("{} holds {what}", file.display()));
    Ok(())
}

//! `bundle`: the roots that others verify our machines with.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use countersign_api::{Bundle, paths};

use super::{
    CaArgs, CliError, Output,
    result_file::{Existing, ResultFile},
};

/// See or save the trust bundle: the roots others verify our machines with.
#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Print the trust bundle: PEM, or with --json a SPIFFE bundle (JWKS).
    Show,
    /// Save the trust bundle to a file, replacing it in one step: PEM, or with --json a SPIFFE bundle (JWKS).
    Export {
        /// The file; `-` is standard output.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(crate) fn run(args: BundleArgs, out: &Output) -> Result<(), CliError> {
    let text = fetch(&args.ca, out)?;
    match args.command {
        BundleCommand::Export { file } if file != Path::new("-") => {
            let mut to = ResultFile::begin(&file, 0o644, Existing::Replace)?;
            to.write_all(text.as_bytes()).map_err(|error| {
                CliError::failed(format_args!("cannot write {}: {error}", file.display()))
            })?;
            to.finish()?;
            out.remark(format_args!("{} holds the trust bundle", file.display()));
        }
        _ => out.text(text),
    }
    Ok(())
}

fn fetch(ca: &CaArgs, out: &Output) -> Result<String, CliError> {
    let client = ca.connect()?;
    if !out.is_json() {
        return client.get_text(paths::BUNDLE, "application/x-pem-file");
    }
    let bundle: Bundle = client.get(paths::BUNDLE)?;
    serde_json::to_string_pretty(&bundle).map(|text| text + "\n").map_err(CliError::failed)
}

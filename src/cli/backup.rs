//! `backup`: a consistent copy of a running CA in one file.

use std::path::PathBuf;

use clap::Args;
use countersign_api::paths;

use super::{
    CaArgs, CliError, Output,
    result_file::{Existing, ResultFile},
};

/// Write a consistent copy of a running CA's book and state into one file, readable by its owner only.
///
/// The copy holds the CA's keys as they are at rest, encrypted, and not the secret that unlocks the online ones: a
/// stolen copy cannot sign. Keep state/unlock apart from it. An existing file is never overwritten.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The file to make.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: BackupArgs, out: &Output) -> Result<(), CliError> {
    let mut file = ResultFile::begin(&args.file, 0o600, Existing::Keep)?;
    let client = args.ca.connect_here()?;
    let result = client.stream(paths::ADMIN_BACKUP, &mut file, |octets| {
        out.progress(format_args!("{} KiB written", octets / 1024));
    });
    out.progress_done();
    let octets = result?;
    file.finish()?;
    if out.is_json() {
        out.json(&serde_json::json!({ "file": args.file, "octets": octets }));
    } else {
        out.line(format_args!("{} holds the backup ({octets} octets)", args.file.display()));
    }
    Ok(())
}

//! The `quickstart` command.

use super::{CliError, Output};

/// Arguments.
#[derive(clap::Args, Debug)]
pub(crate) struct QuickstartArgs {}

pub(crate) fn run(_args: QuickstartArgs, _out: &Output) -> Result<(), CliError> {
    Err(CliError::failed("not built yet"))
}

//! `inspect`

use super::{CliError, Output};

/// Arguments.
#[derive(clap::Args, Debug)]
pub(crate) struct CheckArgs {}

pub(crate) fn run(_args: CheckArgs, _out: &Output) -> Result<(), CliError> {
    Err(CliError::failed("not built yet"))
}

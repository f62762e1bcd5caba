//! `inspect`

use super::{CliError, Output};

/// Arguments.
#[derive(clap::Args, Debug)]
pub(crate) struct InspectArgs {}

pub(crate) fn run(_args: InspectArgs, _out: &Output) -> Result<(), CliError> {
    Err(CliError::failed("not built yet"))
}

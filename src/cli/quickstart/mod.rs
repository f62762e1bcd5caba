//! `countersign quickstart`: the whole product in a scratch directory, narrated; it ends well only if every step was
//! seen to hold.

mod authority;
mod caller;
mod interruption;
mod ledger;
mod story;
mod stranger;

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Output};
use story::Story;

/// Show everything in a scratch directory: a CA, machines that enroll and renew, a service that lets one in and turns
/// another away, and attempts that must fail. Takes a few seconds and leaves nothing behind, also when it is interrupted.
#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Leave everything running until Ctrl-C, and say what to try. Default: stop and remove it.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: QuickstartArgs, out: &Output) -> Result<(), CliError> {
    let scratch = Scratch::new()?;
    let mut story = Story::begin(scratch.path.clone(), out)?;
    story.tell()?;
    out.line("");
    out.success(format!("all {} steps held", story.held()));
    if args.keep {
        story.keep()?;
    } else {
        out.note("look around: countersign quickstart --keep; a real CA: countersign init --help");
    }
    Ok(())
}

/// A directory of our own that goes when we go.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Result<Self, CliError> {
        let name = format!(
            "countersign-{}",
            countersign_identity::hex::encode(&crate::signer::Entropy::system().octets::<6>())
        );
        let path = std::env::temp_dir().join(name);
        crate::signer::files::create_private_directory(&path)
            .map_err(|e| CliError::failed(format!("cannot make {}: {e}", path.display())))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

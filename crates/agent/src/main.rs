//! The program `countersign-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign_agent::cli::main()
}

//! The `countersign` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::cli::main()
}

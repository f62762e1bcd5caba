//! The `countersign` program: parse, run, exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A renewal allocates some hundred times, on three threads: a fifth of its CPU with the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    countersign::cli::main()
}

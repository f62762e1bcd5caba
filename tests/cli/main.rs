//! The command line as a person or a script meets it: the real program, its output, its exit codes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod admin;
mod alone;
mod place;

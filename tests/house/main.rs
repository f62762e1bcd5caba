//! The house from outside: the real programs, spawned, spoken to over their real doors, and killed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests: a panic says where it broke"
)]

mod bodies;
mod ca;
mod invitations;
mod machine;
mod program;
mod renewals;
mod requests;
mod wire;

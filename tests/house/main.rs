//! The house from outside: the real programs, spawned, spoken to over their real doors, and killed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests: a panic says where it broke"
)]

mod agent_token;
mod api_keys;
mod archive;
#[cfg(feature = "failpoints")]
mod arrows;
mod assertions;
mod bodies;
mod ca;
mod clients;
mod clocks;
mod crash;
mod decisions;
mod disks;
mod documents;
mod durability;
mod external;
mod floods;
mod impostors;
mod inside;
mod invitations;
mod keeping;
mod limits;
mod machine;
mod oauth;
mod operators;
mod outages;
mod peers;
mod program;
mod protected;
mod recovery;
mod registered_keys;
mod regressions;
mod renewals;
mod requests;
mod restoration;
mod secrets;
mod services;
mod tokens;
mod trust;
mod wire;
mod workloads;

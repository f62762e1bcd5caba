//! Attacks on the verifier: each forged certificate is refused with its own reason, in calls and over real sockets.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic says where the fixture broke"
)]

mod adopted;
mod crls;
#[cfg(all(feature = "axum", feature = "http"))]
mod endpoints;
mod front_door;
mod gate;
mod handshake;
#[cfg(all(feature = "axum", feature = "http", feature = "tokens"))]
mod introspection;
mod known;
mod leaves;
mod limits;
mod lists;
mod live;
mod live_trust;
mod paths;
mod pinned;
mod profile;
#[cfg(all(feature = "axum", feature = "http"))]
mod reports;
mod resigned;
#[cfg(all(feature = "axum", feature = "http", feature = "tokens"))]
mod resource;
mod robustness;
#[cfg(feature = "axum")]
mod serve;
mod snapshots;
#[cfg(feature = "tokens")]
mod tokens;
#[cfg(feature = "axum")]
mod watched;
mod world;

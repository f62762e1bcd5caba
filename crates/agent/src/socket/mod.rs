//! The local socket: the SPIFFE Workload API, and Envoy's secret discovery service, for processes of this machine.
//!
//! ```text
//! listener ─► connection ─► routes ─► workload_api, sds
//!  limits     who calls      by path   follow the custody, tell what this caller may know
//! ```

mod authority;
mod complaints;
mod connection;
mod drill;
mod follower;
mod listener;
mod rarely;
mod routes;
mod sds;
mod sds_delta;
mod secrets;
mod settings;
mod workload_api;

pub use authority::soften;
pub use drill::{Drill, Drilled};
pub(crate) use listener::open;
pub use settings::WorkloadApi;
pub(crate) use settings::{WorkloadApiFile, read as read_settings};

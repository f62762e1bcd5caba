//! The machine side of Countersign: enroll with an invitation, renew in time, keep certificate and key together.
//!
//! The two verbs are [`enroll`] and [`renew`]; the program `countersign-agent` is a thin shell around them and around
//! [`Agent`](run::Agent), which renews by itself. What is published in a [`Dir`] was accepted by our own verifier first,
//! and is swapped in one step.
//!
//! ```
//! use countersign_agent::{EnrollOptions, ErrorKind, enroll};
//! use countersign_api::Invitation;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let invitation = Invitation {
//!     url: "https://127.0.0.1:1".into(), // nobody listens there
//!     trust_domain: "prod.example".into(),
//!     root_sha256: [7; 32],
//!     secret: [9; 32],
//! };
//! let scratch = tempfile::tempdir()?;
//! let options = EnrollOptions::new(invitation, scratch.path());
//! let error = enroll(&options).await.expect_err("the CA is away");
//! assert_eq!(error.kind(), ErrorKind::Unreachable);
//! assert_eq!(error.exit_code(), 3);
//! assert!(error.hint().is_some_and(|hint| hint.contains("goes on with the key")));
//! # Ok(()) })
//! # }
//! ```

mod answer;
mod as_machine;
mod at_rest;
mod attempt;
#[cfg(feature = "workload-api")]
pub mod attest;
pub mod cli;
pub mod config;
mod contact;
#[cfg(feature = "workload-api")]
mod custody;
mod dir;
mod durable;
mod endpoint;
mod enroll;
mod error;
mod forgotten;
#[cfg(feature = "workload-api")]
mod generated;
mod generation;
mod identity;
mod install;
mod keystore;
mod lock;
mod metrics;
mod notify;
mod output;
mod outputs;
mod owner;
#[cfg(feature = "workload-api")]
mod pause;
mod pending;
mod plain;
mod proof;
mod refusal;
mod reload;
mod renew;
mod roots;
mod route;
pub mod run;
pub mod schedule;
#[cfg(feature = "workload-api")]
mod seal;
mod serving;
#[cfg(feature = "workload-api")]
mod socket;
mod stages;
pub mod status;
#[cfg(feature = "workload-api")]
mod takeover;
mod token;
#[cfg(feature = "workload-api")]
mod unlock;

pub use attempt::{Action, Attempt, Plan, Record};
pub use dir::Dir;
pub use endpoint::{Endpoint, EndpointError};
pub use enroll::{EnrollOptions, Enrolled, enroll, enroll_or_keep};
pub use error::{AgentError, ErrorKind};
pub use identity::{Identity, Pin, Window};
pub use install::{Installation, install};
pub use keystore::Keystore;
pub use notify::Notify;
pub use outputs::Outputs;
pub use reload::{Reload, ReloadSignal, reload};
pub use renew::{RenewOptions, recover, renew};
#[cfg(feature = "workload-api")]
pub use socket::{Drill, Drilled, WorkloadApi, soften};
pub use stages::{Interrupted, Stage, Stages, Uninterrupted, UnknownStage};
pub use token::{AccessToken, TokenWish, token};

//! Countersign: a small certificate authority and identity issuer for machines.
//!
//! This crate is the CA itself and its command line. The map of the rooms:
//!
//! - [`cli`]: one file per command; the only place that prints.
//! - [`config`]: what an operator writes, and what the program makes of it.
//! - [`service`]: the use cases, one file each.
//! - [`http`]: the front desk; wire in, service, wire out.
//! - [`signer`]: keys at rest and the pens they hold.
//!
//! ```
//! let config = countersign::config::Config::parse(
//!     "trust_domain = \"prod.example\"",
//!     std::path::Path::new("countersign.toml"),
//! )?;
//! assert_eq!(config.url, "https://127.0.0.1:8443");
//! # Ok::<(), countersign::config::ConfigError>(())
//! ```

pub mod cli;
pub mod config;
pub mod http;
pub mod service;
pub mod signer;

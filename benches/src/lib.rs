//! What the yardstick, the loader and the calibration share.
//!
//! ```
//! use countersign_bench::Sample;
//!
//! let sample: Sample = (1..=100).collect();
//! assert_eq!((sample.percentile(50), sample.percentile(99)), (50, 99));
//! ```

mod client;
pub mod corridor;
mod cpu;
pub mod crew;
pub mod ghosts;
mod identities;
pub mod pem;
mod proposal;
mod sample;
pub mod tls;

pub use client::{Answer, Connection};
pub use cpu::CpuTime;
pub use identities::{Identity, IdentityFile};
pub use proposal::Proposal;
pub use sample::Sample;

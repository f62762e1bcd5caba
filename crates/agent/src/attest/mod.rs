//! Who calls on the socket: what the kernel says of a process, as selectors.
//!
//! Nothing a caller sends takes part in it (SPIFFE Workload Endpoint §4): the credentials are those the kernel recorded
//! when the socket was connected, and the rest is read from `/proc` while a pidfd holds the process in place.

mod caller;
mod cgroup;
mod program;

pub(crate) use caller::{Caller, Evidence};
pub use cgroup::Cgroup;
pub use countersign_identity::{Selector, SelectorError};

//! Permissions in front of HTTP of any stack: who calls is in the extensions of a request, whether it may is asked here.

mod allowed;
mod introduce;
mod problem;
#[cfg(feature = "tokens")]
mod recognised;
mod require;

#[cfg(feature = "tonic")]
pub(crate) use allowed::ask;
#[cfg(feature = "axum")]
pub(crate) use allowed::caller;
pub use allowed::{Allowed, NotAllowed, PeerRequired};
pub use introduce::{Introduce, Introduced};
#[cfg(feature = "axum")]
pub(crate) use problem::Problem;
#[cfg(all(feature = "tokens", feature = "axum"))]
pub(crate) use recognised::Recognised;
#[cfg(feature = "tokens")]
pub use recognised::{Recognise, Recognising};
pub use require::{Require, Required};

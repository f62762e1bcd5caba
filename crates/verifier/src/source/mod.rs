//! Where trust comes from: files and the certificate authority, judged, kept on disk, put in force in one step.

#[cfg(feature = "http")]
mod backoff;
#[cfg(feature = "http")]
mod ca;
mod disk;
#[cfg(feature = "http")]
mod endpoint;
mod file;
mod health;
#[cfg(feature = "http")]
mod link;
mod live;
#[cfg(feature = "workload-api")]
mod workload_api;

#[cfg(feature = "http")]
pub(crate) use backoff::Backoff;
#[cfg(feature = "http")]
pub use ca::{CaAddress, CaAddressError};
#[cfg(feature = "http")]
pub use endpoint::{
    BundleEndpoint, EndpointHandle, EndpointHealth, EndpointUrl, EndpointUrlError, WebRoots, WebRootsError,
};
#[cfg(feature = "tokens")]
pub(crate) use endpoint::{WebForm, WebPage};
pub use file::{BundleFileError, follow_bundle_file, follow_identity_files, offer_bundle_file};
pub use health::{Counts, TrustHealth, TrustState};
#[cfg(feature = "http")]
pub use link::CaLink;
#[cfg(feature = "http")]
pub(crate) use link::LinkFault;
pub use live::{LiveTrust, LiveTrustError, LiveTrustSettings, Offered};
#[cfg(feature = "workload-api")]
pub use workload_api::{WorkloadApi, WorkloadApiError};

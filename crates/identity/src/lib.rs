//! Ground-floor values of Countersign: names, numbers and times that every other room speaks in.
//!
//! Everything here is parsed once, at the edge, and is valid from then on; `Display` gives back the text that parses.
//! Nothing here reads a clock, a file, the network or a source of randomness: those are handed in.
//!
//! ```
//! use countersign_identity::{IdPattern, SpiffeId, Timestamp, TrustDomain, Validity};
//! use std::time::Duration;
//!
//! let domain: TrustDomain = "prod.example".parse()?;
//! let id: SpiffeId = domain.with_path("/payments/acme/api")?;
//! assert_eq!(id.to_string(), "spiffe://prod.example/payments/acme/api");
//!
//! let pattern: IdPattern = "spiffe://prod.example/payments/{tenant}/*".parse()?;
//! let captures = pattern.matches(&id).ok_or("the pattern covers this identity")?;
//! assert_eq!(captures.get("tenant"), Some("acme"));
//!
//! let now: Timestamp = "2026-11-23T10:00:00Z".parse()?;
//! let hour = Validity::new(now, now + Duration::from_secs(3599))?;
//! assert_eq!(hour.lifetime(), Duration::from_secs(3600), "both ends count (RFC 5280 §4.1.2.5)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api_key_id;
mod bundle;
mod clock;
pub mod duration;
pub mod hex;
mod key_hash;
mod lineage;
mod machine_id;
mod nearest;
mod pattern;
mod selector;
mod serial;
mod spiffe_id;
mod timestamp;
mod trust_domain;
mod validity;

pub use api_key_id::{ApiKeyId, ApiKeyIdError};
pub use bundle::TrustBundle;
pub use clock::{Clock, ManualClock};
pub use key_hash::{KeyHash, KeyHashError};
pub use lineage::{Lineage, LineageError};
pub use machine_id::{MachineId, MachineIdError};
pub use nearest::nearest;
pub use pattern::{Captures, IdPattern, IdPatternError, PatternSegment};
pub use selector::{Selector, SelectorError};
pub use serial::{Serial, SerialError};
pub use spiffe_id::{SpiffeId, SpiffeIdError};
pub use timestamp::{Timestamp, TimestampError};
pub use trust_domain::{TrustDomain, TrustDomainError};
pub use validity::{Validity, ValidityError, ValidityState};

//! The book: one place where everything is written, durably, before anything is signed or answered.
//!
//! [`Store`] is the contract, [`Book`] keeps it on any [`engine`]: sled in a directory, or memory. A command runs on the
//! committer's thread against an overlay, shares one flush with the others of its group, and is answered afterwards.
//!
//! ```
//! use countersign_issuance::{Machines, Registration, Tokens};
//! use countersign_store::{Actor, Book, NewInvitation, Options, Store};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let entropy = Box::new(|salt: &mut [u8]| salt.fill(7));
//! let book = Book::in_memory(Options::new(entropy))?;
//! let now = "2026-11-23T10:00:00Z".parse()?;
//! let registration = Registration {
//!     id: "spiffe://prod.example/payments".parse()?,
//!     profile: "workload".into(),
//!     dns: vec!["payments.prod.example".parse()?],
//!     ip: vec![],
//!     until: None,
//!     owner: Some("payments team".into()),
//!     machines: Machines::One,
//!     tokens: Tokens::Bound,
//!     token_keys: vec![],
//!     shared: false,
//!     parent: None,
//!     selectors: vec![],
//!     created: now,
//! };
//! let hash = [1; 32]; // SHA-256 of the secret; the secret itself never reaches the book
//! let expires = "2026-11-23T10:15:00Z".parse()?;
//! let invitation = NewInvitation { hash, registration, expires, uses: 1 };
//! let invited = book.invite(invitation, Actor::Local { uid: 0 }, now).await?;
//! assert!(invited.registration_created);
//! assert_eq!(book.invitation(&hash)?.map(|invitation| invitation.used), Some(0));
//! # Ok(())
//! # }
//! ```

mod actor;
mod api_keys;
mod archive;
mod backup;
mod book;
mod committer;
mod counts;
mod cursor;
mod directory;
pub mod engine;
mod enrollment;
mod error;
mod events;
mod expiry;
mod invitations;
mod issuances;
mod keys;
mod layout;
mod lineage;
mod machines;
mod observer;
mod options;
mod orders;
mod overlay;
mod presentation;
mod queue;
mod recent;
mod records;
mod recovery;
mod registrations;
mod renewal;
mod restoration;
mod revocation;
mod revoked_list;
mod rows;
mod shadow;
mod standing;
mod store;
mod transaction;
mod trust;
mod uses;
mod withdrawn;
mod workloads;

pub use actor::Actor;
pub use api_keys::{ApiKeyFilter, ApiKeyRecord};
pub use archive::{Archive, HandedOn};
pub use backup::BackedUp;
pub use book::Book;
pub use counts::Counts;
pub use cursor::{Cursor, Listing};
pub use error::{Refusal, StoreError};
pub use events::{Event, Personal, StoredEvent};
pub use expiry::Expired;
pub use invitations::{Invitation, Invited, NewInvitation, Redemption};
pub use issuances::{Issuance, IssuanceFilter, IssuedCertificate};
pub use lineage::LineageState;
pub use machines::{Deployed, Machine, MachineFilter, MachineStatus, Step, Whom};
pub use observer::{Health, Observer, Stage, Unobserved};
pub use options::{Entropy, Options};
pub use orders::{Hurry, Order};
pub use presentation::{Door, Presentation};
pub use recovery::{Claim, Recovery};
pub use registrations::Imported;
pub use restoration::{Met, Restoration, Restored, Unbooked};
pub use revocation::{Cause, KeyStanding, Revocation, Revoked, Target};
pub use revoked_list::{Relisted, RevokedSerial};
pub use standing::{Pending, Standing};
pub use store::{Store, StoreResult};
pub use trust::{IssuerRecord, IssuerState, PolicyRecord, RootsDocument, TrustState};
pub use uses::PermissionUse;
pub use withdrawn::{RevokedToken, TokenId, Withdrawn};

//! Development only: forged certificates our issuer refuses to make, fixtures and seeded randomness.
//!
//! [`Authority`] signs whatever it is told to; [`LeafForge`] begins with a correct X.509 SVID and breaks one thing at a
//! time. Everything happens around [`noon`], so that tests choose the time and never wait for it.
//!
//! ```
//! use countersign_testkit::{Authority, noon};
//! use std::time::Duration;
//!
//! let issuer = Authority::root("prod.example").issuer();
//! let expired = issuer.leaf("spiffe://prod.example/payments").ends(noon() - Duration::from_secs(1)).forge();
//! assert_eq!(expired.chain().len(), 2, "leaf and issuer, as a machine sends them");
//! ```

#![expect(clippy::expect_used, reason = "a forge that fails is a bug in a test, and a panic says where")]

mod authority;
mod corpus;
pub mod csr;
mod forged;
mod leaf;
pub mod mangle;
mod noon;
mod seeded;
mod token;
mod trust;

pub use authority::Authority;
pub use corpus::{Target, replay};
pub use forged::Forged;
pub use leaf::LeafForge;
pub use noon::{noon, noon_clock};
pub use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
pub use seeded::Seeded;
pub use token::{TokenForge, TokenKey};
pub use trust::{ForgedSnapshot, SnapshotForge, roots_document};

//! The corridor: from a proven key to an issued certificate.
//!
//! ```text
//! ProvenKey ──approve──► Approved ──prepare──► Prepared ──record──► Recorded ──sign──► Issued
//! ```
mod approval;
pub mod authority;
mod csr;
mod denial;
mod der;
mod dns_name;
mod issued;
mod issuer;
mod key;
mod ledger;
mod lint;
mod prepared;
mod profile;
mod proven_key;
mod recorded;
mod registration;
mod requested;
mod signature;
mod signer;
mod tbs;

pub use approval::{Approved, BACKDATE, House, OWN_PROFILE, approve, approve_own};
pub use csr::{Csr, CsrError, MAX_CSR};
pub use denial::Denial;
pub use der::DerError;
pub use dns_name::{DnsName, DnsNameError};
pub use issued::Issued;
pub use issuer::{IssuerCertificate, IssuerError};
pub use key::{KeyError, KeyKind, KeyKindError};
pub use ledger::{Act, Intent, Ledger, LedgerError, LedgerRefusal, Source};
pub use lint::{LintError, MAX_CERTIFICATE, Rule};
pub use prepared::Prepared;
pub use profile::{LIFETIMES, MAX_RECOVERY, OnClone, Profile, ProfileError, RenewWindow};
pub use proven_key::ProvenKey;
pub use recorded::Recorded;
pub use registration::{
    Difference, MAX_NAMES, Machines, MachinesError, Registration, RegistrationError, ReservedNames,
};
pub use signer::{BoxFuture, Signer, SignerError, SigningAlgorithm};

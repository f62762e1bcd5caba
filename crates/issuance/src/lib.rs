//! The corridor: from a proven key to an issued certificate.
//!
//! ```text
//! CSR ──from_csr──► ProvenKey ──approve──► Approved ──prepare──► Prepared ──record──► Recorded ──sign──► Issued
//!                                  │                    │                     │                  │
//!                       registration, profile         lint             dyn Ledger (book)  dyn Signer (pen)
//! ```
//!
//! Each arrow consumes the value before it, and each value has one constructor. So what does not compile cannot happen:
//! signing what is not recorded, recording what is not judged, judging what is not approved, or doing any of it twice.
//! Of a signing request nothing survives but its public key; everything else comes from the [`Registration`] and the
//! [`Profile`] as they stand at that moment.
//!
//! Nothing here reads a clock, a file, the network or a source of randomness. Two doors lead out: the [`Ledger`], which
//! makes an [`Intent`] durable before the pen moves, and the [`Signer`], which holds the issuer's key.
//!
//! ```
//! use countersign_issuance::{
//!     Act, House, Issued, IssuerCertificate, Ledger, Profile, ProvenKey, Registration, ReservedNames, Signer, approve,
//! };
//! # use std::{sync::Arc, time::Duration};
//! # use countersign_identity::{Lineage, MachineId, Serial, Timestamp, TrustDomain, Validity};
//! # use countersign_issuance::{
//! #     BoxFuture, Intent, LedgerError, Machines, SignerError, SigningAlgorithm, Source, Tokens, authority,
//! # };
//! # use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};
//! # struct Pen(KeyPair, Vec<u8>);
//! # impl Pen {
//! #     fn new() -> Result<Self, rcgen::Error> {
//! #         let key = KeyPair::generate()?;
//! #         let spki = key.subject_public_key_info();
//! #         Ok(Pen(key, spki))
//! #     }
//! # }
//! # impl Signer for Pen {
//! #     fn public_key(&self) -> &[u8] { &self.1 }
//! #     fn algorithm(&self) -> SigningAlgorithm { SigningAlgorithm::EcdsaP256Sha256 }
//! #     fn sign<'a>(&'a self, tbs: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>> {
//! #         Box::pin(async { self.0.sign(tbs).map_err(|error| SignerError::Unavailable { why: error.to_string() }) })
//! #     }
//! # }
//! # struct Book;
//! # impl Ledger for Book {
//! #     fn record(&self, _: Intent) -> BoxFuture<'_, Result<(), LedgerError>> { Box::pin(async { Ok(()) }) }
//! #     fn keep(&self, _: Serial, _: Arc<[u8]>) {}
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let now: Timestamp = "2026-11-23T10:00:00Z".parse()?;
//! # let trust_domain: TrustDomain = "prod.example".parse()?;
//! # let (pen, book) = (Pen::new()?, Book);
//! # let decade = Validity::new(now, now + Duration::from_secs(315_360_000))?;
//! # let root = authority::self_signed_root(&trust_domain, Serial::from_random([1; 18]), decade, &pen).await?;
//! # let issuer = IssuerCertificate::parse(&root)?;
//! # let key = KeyPair::generate()?;
//! # let csr = CertificateParams::default().serialize_request(&key)?.der().to_vec();
//! # let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
//! # let (serial, lineage) = (Serial::from_random([2; 18]), Lineage::from_random([3; 16]));
//! # let (invitation, machine, source) = ([0; 32], MachineId::from_random([4; 8]), Source::default());
//! # let registration = Registration {
//! #     id: "spiffe://prod.example/payments".parse()?,
//! #     profile: "workload".to_owned(),
//! #     dns: vec![], ip: vec![], until: None, owner: None, machines: Machines::One, tokens: Tokens::Bound, token_keys: vec![],
//! #     shared: false, parent: None, selectors: vec![], created: now,
//! # };
//! let profile = Profile::parse("workload", r#"lifetime = "1h""#)?;
//! let house = House {
//!     trust_domain: &trust_domain,
//!     issuer: &issuer,
//!     ca_keys: &[issuer.key_hash()],
//!     reserved: &ReservedNames::default(),
//! };
//!
//! let key = ProvenKey::from_csr(&csr, algorithms)?;
//! let approved = approve(key, &registration, &profile, &house, now)?;
//! let prepared = approved.prepare(serial, lineage, &house)?;
//! let recorded = prepared.record(&book, Act::Enroll { invitation, machine, source }).await?;
//! let issued: Issued = recorded.sign(&pen, &book).await?;
//!
//! assert_eq!(issued.spiffe_id(), &registration.id);
//! assert_eq!(issued.validity().not_after(), "2026-11-23T10:59:59Z".parse()?);
//! # Ok(())
//! # }
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
#[cfg(doctest)]
mod sealed;
mod signature;
mod signer;
mod tbs;
mod token_key;

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
    Difference, MAX_NAMES, Machines, MachinesError, Registration, RegistrationError, ReservedNames, Tokens,
    TokensError,
};
pub use signer::{BoxFuture, Signer, SignerError, SigningAlgorithm};
pub use token_key::{MAX_TOKEN_KEYS, TokenKey, TokenKeyError};

//! Permission policy: rules in, decisions out.
//!
//! A policy is a text that maps patterns of SPIFFE IDs to permissions. It is parsed and compiled once; an identity is
//! resolved once per connection; each request is then a set lookup. Whatever no grant gives is refused, and a deny
//! takes away what any grant gave. It also says which identities a service runs under. Nothing here reads a clock, a file or the network.
//!
//! ```
//! use countersign_identity::{SpiffeId, Timestamp};
//! use countersign_policy::{Permission, Policy};
//!
//! let text = r#"
//! version = 1
//! [service.ledger]
//! permissions = ["read", "write", "tenant:{tenant}"]
//! [[grant]]
//! id = "spiffe://prod.example/payments/{tenant}/*"
//! permissions = ["ledger:read", "ledger:tenant:{tenant}"]
//! "#;
//! let policy = Policy::parse(text, "policy.toml")?;
//! let caller: SpiffeId = "spiffe://prod.example/payments/acme/api".parse()?;
//! let now: Timestamp = "2026-11-23T10:00:00Z".parse()?;
//!
//! let standing = policy.resolve(&caller, now);
//! assert!(standing.check(&"ledger:tenant:acme".parse()?));
//! assert!(!standing.check(&"ledger:tenant:globex".parse()?));
//!
//! let write: Permission = "ledger:write".parse()?;
//! let decision = standing.decision(&write);
//! assert!(decision.to_string().starts_with("refused ledger:write: no grant"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod case;
mod catalog;
mod compile;
mod decision;
mod diff;
mod effect;
mod error;
mod explain;
mod permission;
mod policy;
mod rule;
mod service;
mod standing;
mod template;
mod trie;
mod version;
mod who_can;
mod window;
mod written;

pub use case::{Expectation, TestFailure};
pub use catalog::RESERVED_SERVICE;
pub use decision::Decision;
pub use diff::{Change, ServiceChange, diff, service_changes};
pub use effect::{Effect, effects};
pub use error::{PolicyError, Problem};
pub use explain::{ExplainedRule, Explanation, explain};
pub use permission::{Permission, PermissionError, PermissionLiteral};
pub use policy::Policy;
pub use rule::{RuleKind, RuleRef};
pub use standing::Standing;
pub use version::PolicyVersion;
pub use who_can::{Holder, who_can};
pub use window::{Force, Window};

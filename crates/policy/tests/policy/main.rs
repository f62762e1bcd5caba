//! The policy, judged from outside: what it reads, what it decides, what it can tell.

#![expect(clippy::expect_used, reason = "a broken fixture should say which")]

mod decisions;
mod effects;
mod properties;
mod questions;
mod services;
mod text;

use countersign_identity::{SpiffeId, Timestamp};
use countersign_policy::{Permission, Policy};

/// The example of the design.
pub(crate) const EXAMPLE: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write", "tenant:{tenant}"]
[[grant]]
id = "spiffe://prod.example/payments/{tenant}/*"
permissions = ["ledger:read", "ledger:tenant:{tenant}"]
until = 2027-01-01T00:00:00Z
owner = "payments team"
reason = "settlement"
[[deny]]
id = "spiffe://prod.example/payments/sandbox/**"
permissions = ["ledger:write"]
[[test]]
id = "spiffe://prod.example/payments/acme/api"
may = ["ledger:read"]
may_not = ["ledger:write"]
"#;

pub(crate) fn policy(text: &str) -> Policy {
    Policy::parse(text, "policy.toml").expect(text)
}

/// A policy with a service `ledger` (read, write, tenant:{tenant}) and these rules.
pub(crate) fn rules(rules: &str) -> Policy {
    policy(&format!(
        "version = 1\n[service.ledger]\npermissions = [\"read\", \"write\", \"tenant:{{tenant}}\"]\n{rules}"
    ))
}

pub(crate) fn id(path: &str) -> SpiffeId {
    format!("spiffe://td{path}").parse().expect(path)
}

pub(crate) fn permission(text: &str) -> Permission {
    text.parse().expect(text)
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

pub(crate) fn now() -> Timestamp {
    at("2026-11-23T10:00:00Z")
}

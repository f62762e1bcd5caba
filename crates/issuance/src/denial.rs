//! Why issuance policy says no

use std::time::Duration;

use countersign_identity::{SpiffeId, SpiffeIdError, Timestamp, TrustDomain};
use thiserror::Error;

use crate::key::KeyKind;
use crate::registration::RegistrationError;

/// Issuance policy's refusal of one request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// The request asks for something that the registration does not give.
    #[error(
        "the request asks for {found}, which the registration of {id} does not give; ask for nothing, or register it"
    )]
    CsrNames {
        /// What it asks for.
        found: String,
        /// Whose registration it is.
        id: SpiffeId,
    },
    /// The profile does not take such keys.
    #[error("the request is for a key of the kind {found}, the profile takes {}", list(allowed))]
    KeyKind {
        /// The key's kind.
        found: KeyKind,
        /// What the profile takes.
        allowed: Vec<KeyKind>,
    },
    /// The key is one of the CA's own.
    #[error("the key is one of the CA's own, generate a new one")]
    CaKey,
    /// The registration's time is over.
    #[error("the registration ended at {until}")]
    RegistrationEnded {
        /// When.
        until: Timestamp,
    },
    /// The registration breaks a rule that registrations keep.
    #[error("the registration may not stand: {0}")]
    Registration(RegistrationError),
    /// The registration is for another profile than was looked up.
    #[error("the registration is for the profile {expected:?}, found {found:?}")]
    Profile {
        /// The profile at hand.
        found: String,
        /// The one the registration names.
        expected: String,
    },
    /// A name of the CA's own.
    #[error("{found} belongs to the CA itself and is never certified")]
    Reserved {
        /// The name.
        found: String,
    },
    /// The identity is of another trust domain.
    #[error("{found} is not in the trust domain {expected}")]
    TrustDomain {
        /// The identity.
        found: SpiffeId,
        /// Our trust domain.
        expected: TrustDomain,
    },
    /// The issuer ends too soon.
    #[error("the issuer's certificate ends at {not_after}, rotate it")]
    IssuerTooShort {
        /// When it ends.
        not_after: Timestamp,
    },
    /// The issuer has not begun: one of two clocks is wrong.
    #[error("the issuer's certificate is not valid before {not_before}, check the clock")]
    IssuerNotYetValid {
        /// When it begins.
        not_before: Timestamp,
    },
    /// The CA asks itself for a life outside the limits of every profile.
    #[error("the CA's own certificate cannot live {}, expected one minute to seven days", countersign_identity::duration::format(*found))]
    Lifetime {
        /// What was asked for.
        found: Duration,
    },
    /// The trust domain is too long for the CA's own SPIFFE ID.
    #[error("the CA's own name is not possible in this trust domain: {error}")]
    OwnName {
        /// Why.
        error: SpiffeIdError,
    },
}

impl Denial {
    /// The stable problem code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Denial::CsrNames { .. } => "csr_names_refused",
            Denial::KeyKind { .. } => "key_kind_refused",
            Denial::CaKey => "key_in_use",
            Denial::RegistrationEnded { .. } => "registration_gone",
            Denial::Registration(_) => "registration_invalid",
            Denial::Profile { .. } => "profile_unknown",
            Denial::Reserved { .. } => "name_reserved",
            Denial::TrustDomain { .. } => "trust_domain_foreign",
            Denial::IssuerTooShort { .. } | Denial::IssuerNotYetValid { .. } => "issuer_expiring",
            // Neither is a caller's doing.
            Denial::Lifetime { .. } | Denial::OwnName { .. } => "internal",
        }
    }
}

fn list(kinds: &[KeyKind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

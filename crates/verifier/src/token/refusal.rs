//! Why a token or an API key was not accepted.

use std::time::Duration;

use countersign_identity::duration;

/// Why a token or an API key proves nobody here.
///
/// Every case has a stable [`code`](TokenRefusal::code) for machines and a sentence for the service's own log. Whoever sent it learns
/// neither. The enum is exhaustive on purpose: who answers refusals must think of each.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenRefusal {
    /// More octets than any honest token has.
    #[error("the token has {found} octets, at most {limit} are read")]
    TooLong {
        /// How many.
        found: usize,
        /// How many are read.
        limit: usize,
    },
    /// Not the form of a signed token.
    #[error("the token cannot be read: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// Another algorithm than the issuer's.
    #[error("the token's `alg` is {found:?}, expected {expected}")]
    Algorithm {
        /// What it says.
        found: String,
        /// The issuer's.
        expected: &'static str,
    },
    /// Some other kind of token (RFC 9068 §4, RFC 8725 §3.11).
    #[error("the token's `typ` is {found:?}, expected \"at+jwt\"")]
    Kind {
        /// What it says.
        found: String,
    },
    /// A member of the header that has no place there, such as a key or where to find one.
    #[error("the token's header holds {member:?}, which has no place there")]
    Header {
        /// The member.
        member: String,
    },
    /// Nobody of this service's issuers made it.
    #[error("the token is of the issuer {found:?}, which is not one of this service's")]
    Issuer {
        /// Whom it names.
        found: String,
    },
    /// The issuer has no key of this name.
    #[error("the token's issuer has no key {kid:?}")]
    UnknownKey {
        /// Its `kid`.
        kid: String,
    },
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// For another service.
    #[error("the token is for {found:?}, expected {expected:?}")]
    Audience {
        /// Whom it is for.
        found: String,
        /// This service.
        expected: String,
    },
    /// It has ended.
    #[error("the token expired {} ago", duration::format(*by))]
    Expired {
        /// By how much.
        by: Duration,
    },
    /// Its time has not come.
    #[error("the token is not valid for another {}: compare the clocks", duration::format(*by))]
    NotYetValid {
        /// By how much.
        by: Duration,
    },
    /// A claim is missing, or says what it must not.
    #[error("the token's claims: {what}")]
    Claims {
        /// Which and how.
        what: String,
    },
    /// Anybody could use it, and this service does not take such.
    #[error("the token is bound to nobody, and this service takes only bound ones")]
    Unbound,
    /// It is bound to a certificate, and the connection has none.
    #[error("the token is bound to a certificate, and none was presented")]
    NoCertificate,
    /// It was stolen, or its holder is somebody else by now.
    #[error("the token is bound to another certificate and lineage than the one presented")]
    NotTheHolder,
    /// It, its holder, or the key it came from was revoked.
    #[error("the {what} was revoked")]
    Revoked {
        /// What was.
        what: &'static str,
    },
    /// The authorization server says that the API key is not to be accepted.
    #[error("the API key is not active at this service")]
    Inactive,
    /// The authorization server that made the token says that it is not to be accepted (RFC 7662 §2.2).
    #[error("the authorization server says that the token is not active")]
    NotActive,
    /// Nothing is known to judge by, or what is known is too old.
    #[error("nothing is known to judge it by: {what}")]
    NotKnown {
        /// What is missing.
        what: String,
    },
}

impl TokenRefusal {
    /// A stable word for this refusal, as logs, events and metrics carry it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::Malformed { .. } => "token_malformed",
            Self::Algorithm { .. } => "token_algorithm",
            Self::Kind { .. } => "token_type",
            Self::Header { .. } => "token_header",
            Self::Issuer { .. } | Self::UnknownKey { .. } => "token_foreign",
            Self::Signature => "token_signature",
            Self::Audience { .. } => "token_audience",
            Self::Expired { .. } => "token_expired",
            Self::NotYetValid { .. } => "token_not_yet_valid",
            Self::Claims { .. } => "token_claims",
            Self::Unbound => "token_unbound",
            Self::NoCertificate | Self::NotTheHolder => "token_not_holder",
            Self::Revoked { .. } => "token_revoked",
            Self::Inactive => "api_key_inactive",
            Self::NotActive => "token_inactive",
            Self::NotKnown { .. } => "token_not_judged",
        }
    }

    /// Whether the fault is this service's, so that the same token may be accepted in a moment.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::NotKnown { .. })
    }
}

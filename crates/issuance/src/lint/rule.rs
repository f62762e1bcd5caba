//! The rules a certificate is judged by

use std::fmt;

use thiserror::Error;

/// A rule of the certificate profile (`docs/CERTIFICATES.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// DER, canonical in every value, and nothing behind it.
    Encoding,
    /// Small enough for the first flight of a handshake.
    Size,
    /// X.509 version 3.
    Version,
    /// The recorded serial: 18 octets, positive.
    Serial,
    /// The algorithm of the issuer's key, without parameters.
    SignatureAlgorithm,
    /// The issuer's subject, octet for octet.
    Issuer,
    /// UTCTime to 2049, GeneralizedTime after, seconds and `Z`.
    ValidityForm,
    /// The approved times.
    Validity,
    /// Backdated no more, and living no longer from now, than the profile says.
    Lifetime,
    /// No longer than the issuer.
    OutlivesIssuer,
    /// Exactly the expected attributes.
    Subject,
    /// The proven key, of an accepted kind, in its one encoding.
    PublicKey,
    /// No issuerUniqueID, no subjectUniqueID.
    UniqueId,
    /// Exactly one URI and the registered names, not critical.
    SubjectAltName,
    /// The URI is the expected SPIFFE ID.
    SpiffeId,
    /// Critical, and exactly the bits of its role.
    KeyUsage,
    /// Exactly the purposes of its role.
    ExtendedKeyUsage,
    /// Critical and explicit about being a CA or not.
    BasicConstraints,
    /// The issuer's key identifier alone, not critical.
    AuthorityKeyId,
    /// RFC 7093 method 1, not critical.
    SubjectKeyId,
    /// The expected epoch, and on trust signers only.
    TrustEpoch,
    /// No extension that is not named here, and none twice.
    ForeignExtension,
}

impl Rule {
    /// The rule in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Rule::Encoding => "one canonical DER value",
            Rule::Size => "at most 2048 octets when signed",
            Rule::Version => "version 3",
            Rule::Serial => "the recorded serial number of 18 octets",
            Rule::SignatureAlgorithm => "the algorithm of the issuer's key without parameters",
            Rule::Issuer => "the issuer's subject",
            Rule::ValidityForm => "UTCTime to 2049 and GeneralizedTime after, with seconds and Z",
            Rule::Validity => "the approved times",
            Rule::Lifetime => "a life within the profile's limits",
            Rule::OutlivesIssuer => "an end before the issuer's",
            Rule::Subject => "exactly the expected subject",
            Rule::PublicKey => "the proven key in its one encoding",
            Rule::UniqueId => "no unique identifiers",
            Rule::SubjectAltName => "one URI and exactly the registered names, not critical",
            Rule::SpiffeId => "the expected SPIFFE ID",
            Rule::KeyUsage => "critical key usage with exactly the bits of its role",
            Rule::ExtendedKeyUsage => "exactly the extended key usages of its role",
            Rule::BasicConstraints => "critical and explicit basic constraints",
            Rule::AuthorityKeyId => "the issuer's key identifier, not critical",
            Rule::SubjectKeyId => "the key's own identifier, not critical",
            Rule::TrustEpoch => "the expected trust epoch",
            Rule::ForeignExtension => "no other extensions and none twice",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes that break a rule. It is a fault of ours, never of the caller: nothing was recorded or signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("refused to sign: expected {rule}, found {found}")]
pub struct LintError {
    rule: Rule,
    found: String,
}

impl LintError {
    pub(crate) fn new(rule: Rule, found: impl Into<String>) -> Self {
        LintError { rule, found: found.into() }
    }

    /// The rule that is broken.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }
}

/// Refuses unless `holds`; `found` says what is there instead.
pub(super) fn check(holds: bool, rule: Rule, found: impl FnOnce() -> String) -> Result<(), LintError> {
    if holds { Ok(()) } else { Err(LintError::new(rule, found())) }
}

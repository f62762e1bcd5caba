//! The name of a trust domain (SPIFFE-ID §2.1).

use crate::spiffe_id::{SCHEME, SpiffeId, SpiffeIdError};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// The name of a trust domain, such as `prod.example`: 1 to 255 of the characters `a-z 0-9 . - _`.
///
/// Names that look like a DNS name or an IPv4 address get no special treatment. Upper case is refused, never folded:
/// SPIFFE-ID §2.1 makes the canonical form lower-case, and one spelling is one identity.
///
/// ```
/// use countersign_identity::TrustDomain;
///
/// let domain: TrustDomain = "prod.example".parse()?;
/// assert_eq!(domain.id(), "spiffe://prod.example");
/// assert!("Prod.example".parse::<TrustDomain>().is_err());
/// # Ok::<(), countersign_identity::TrustDomainError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// Why a text is not the name of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustDomainError {
    /// No name at all.
    #[error("the trust domain is empty, expected a name such as prod.example")]
    Empty,
    /// Longer than 255 bytes.
    #[error("the trust domain is {found} bytes long, at most {max} are allowed", max = TrustDomain::MAX_LEN)]
    TooLong {
        /// Length found, in bytes.
        found: usize,
    },
    /// A whole SPIFFE ID where the bare name belongs.
    #[error("found a URI, expected the bare name of a trust domain: leave out {SCHEME}")]
    Uri,
    /// A character outside `a-z 0-9 . - _`.
    #[error("the trust domain holds {found:?} at byte {at}, expected only a-z, 0-9, '.', '-' and '_'")]
    Character {
        /// The first offending character.
        found: char,
        /// Its offset in bytes within the name.
        at: usize,
    },
}

impl TrustDomain {
    /// The longest name allowed, in bytes (SPIFFE-ID §2.1 by way of the RFC 3986 host).
    pub const MAX_LEN: usize = 255;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID of the trust domain itself, `spiffe://` and the name.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// The SPIFFE ID at `path` in this trust domain. An empty path names the trust domain itself.
    ///
    /// # Errors
    /// When `path` is not a SPIFFE path, or the whole would exceed [`SpiffeId::MAX_LEN`].
    pub fn with_path(&self, path: &str) -> Result<SpiffeId, SpiffeIdError> {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(SpiffeIdError::RelativePath);
        }
        format!("{SCHEME}{}{path}", self.0).parse()
    }

    /// Takes a name the caller has already judged with [`check`].
    pub(crate) fn assertion(name: &str) -> Self {
        Self(name.into())
    }
}

/// Judges a name without keeping it.
pub(crate) fn check(name: &str) -> Result<(), TrustDomainError> {
    if name.is_empty() {
        return Err(TrustDomainError::Empty);
    }
    if name.len() > TrustDomain::MAX_LEN {
        return Err(TrustDomainError::TooLong { found: name.len() });
    }
    match name.char_indices().find(|(_, c)| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_')) {
        Some((at, found)) => Err(TrustDomainError::Character { found, at }),
        None => Ok(()),
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(SCHEME) {
            return Err(TrustDomainError::Uri);
        }
        check(text)?;
        Ok(Self::assertion(text))
    }
}

impl TryFrom<&str> for TrustDomain {
    type Error = TrustDomainError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl AsRef<str> for TrustDomain {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

//! The SPIFFE ID: a URI that names one workload (SPIFFE-ID §2).

use crate::trust_domain::{self, TrustDomain, TrustDomainError};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// What every SPIFFE ID begins with.
pub(crate) const SCHEME: &str = "spiffe://";

/// First path segment of every name the CA keeps for itself.
const RESERVED: &str = "countersign";

/// A SPIFFE ID, `spiffe://trust-domain` followed by a path or by nothing.
///
/// Valid from the moment it exists and never normalised: two identities are equal exactly if their bytes are.
///
/// ```
/// use countersign_identity::SpiffeId;
///
/// let id: SpiffeId = "spiffe://prod.example/payments/api".parse()?;
/// assert_eq!(id.trust_domain_str(), "prod.example");
/// assert_eq!(id.path(), "/payments/api");
/// assert_eq!(id.segments().collect::<Vec<_>>(), ["payments", "api"]);
/// # Ok::<(), countersign_identity::SpiffeIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    uri: Arc<str>,
    /// Where the path begins: a function of `uri`, kept so that no reader parses again.
    path_at: usize,
}

/// Why a text is not a SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpiffeIdError {
    /// The text does not begin with `spiffe://`, in lower case.
    #[error("a SPIFFE ID begins with {SCHEME} in lower case, as in spiffe://prod.example/payments")]
    Scheme,
    /// Longer than 2048 bytes.
    #[error("the SPIFFE ID is {found} bytes long, at most {max} are allowed", max = SpiffeId::MAX_LEN)]
    TooLong {
        /// Length found, in bytes.
        found: usize,
    },
    /// The part between `spiffe://` and the path is no trust domain.
    #[error(transparent)]
    TrustDomain(#[from] TrustDomainError),
    /// A path was given that does not begin with `/`.
    #[error("the path of a SPIFFE ID begins with '/'")]
    RelativePath,
    /// The path, or the whole ID, ends in `/`.
    #[error("the SPIFFE ID ends in '/', remove it")]
    TrailingSlash,
    /// Two slashes in a row.
    #[error("the path holds an empty segment (\"//\"), expected 1 character or more between slashes")]
    EmptySegment,
    /// A segment that is `.` or `..`.
    #[error("the path holds a relative segment {found:?}, a SPIFFE ID has none")]
    DotSegment {
        /// The segment, `.` or `..`.
        found: String,
    },
    /// A character outside `a-z A-Z 0-9 . - _` in a segment. Query, fragment and percent-encoding end here too.
    #[error(
        "the path holds {found:?} at byte {at} of the ID, expected only letters, digits, '.', '-' and '_'"
    )]
    Character {
        /// The first offending character.
        found: char,
        /// Its offset in bytes within the whole ID.
        at: usize,
    },
}

impl SpiffeId {
    /// The longest ID accepted, in bytes: what every implementation must support and none should exceed
    /// (SPIFFE-ID §2.3).
    pub const MAX_LEN: usize = 2048;

    /// The ID as URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain. Allocates; [`trust_domain_str`](Self::trust_domain_str) does not.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain::assertion(self.trust_domain_str())
    }

    /// The name of the trust domain.
    #[must_use]
    pub fn trust_domain_str(&self) -> &str {
        self.uri.get(SCHEME.len()..self.path_at).unwrap_or_default()
    }

    /// The path: empty, or `/` and segments.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.get(self.path_at..).unwrap_or_default()
    }

    /// The segments of the path; none if the path is empty.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        let path = self.path();
        path.split('/').skip(1)
    }

    /// Whether the ID names a workload rather than the trust domain itself (X509-SVID §5.2 asks it of every leaf).
    #[must_use]
    pub fn has_path(&self) -> bool {
        self.path_at < self.uri.len()
    }

    /// Whether the ID lies in `domain`.
    #[must_use]
    pub fn in_trust_domain(&self, domain: &TrustDomain) -> bool {
        self.trust_domain_str() == domain.as_str()
    }

    /// Whether the path is `/countersign` or below: names that belong to the CA and are never registered.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.segments().next() == Some(RESERVED)
    }
}

/// Judges one path segment; `at` is its offset within the ID.
pub(crate) fn check_segment(segment: &str, at: usize) -> Result<(), SpiffeIdError> {
    match segment {
        "" => return Err(SpiffeIdError::EmptySegment),
        "." | ".." => return Err(SpiffeIdError::DotSegment { found: segment.to_owned() }),
        _ => {}
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match segment.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((offset, found)) => Err(SpiffeIdError::Character { found, at: at + offset }),
        None => Ok(()),
    }
}

/// Cuts a text into trust domain and path (judging scheme, length, trust domain and a trailing slash, but no segment).
pub(crate) fn split(text: &str) -> Result<(&str, &str), SpiffeIdError> {
    if text.len() > SpiffeId::MAX_LEN {
        return Err(SpiffeIdError::TooLong { found: text.len() });
    }
    let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    trust_domain::check(domain)?;
    if path.ends_with('/') {
        return Err(SpiffeIdError::TrailingSlash);
    }
    Ok((domain, path))
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (domain, path) = split(text)?;
        let path_at = SCHEME.len() + domain.len();
        let mut at = path_at;
        for segment in path.split('/').skip(1) {
            at += 1;
            check_segment(segment, at)?;
            at += segment.len();
        }
        Ok(Self { uri: text.into(), path_at })
    }
}

impl TryFrom<&str> for SpiffeId {
    type Error = SpiffeIdError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<&TrustDomain> for SpiffeId {
    /// The ID of the trust domain itself, without a path.
    fn from(domain: &TrustDomain) -> Self {
        let uri: Arc<str> = domain.id().into();
        Self { path_at: uri.len(), uri }
    }
}

impl AsRef<str> for SpiffeId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.uri)
    }
}

//! Patterns over SPIFFE IDs, as permission policy and peer rules write them.

use crate::spiffe_id::{self, SCHEME, SpiffeId, SpiffeIdError};
use crate::trust_domain::TrustDomain;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A set of SPIFFE IDs: a literal trust domain and a pattern for each path segment.
///
/// | segment | matches |
/// |---|---|
/// | `api` | exactly `api` |
/// | `*` | any one segment |
/// | `{name}` | any one segment, captured as `name` |
/// | `**` | one or more segments; only as the last |
///
/// ```
/// use countersign_identity::{IdPattern, SpiffeId};
///
/// let pattern: IdPattern = "spiffe://prod.example/payments/{tenant}/**".parse()?;
/// let id: SpiffeId = "spiffe://prod.example/payments/acme/eu/api".parse()?;
/// assert_eq!(pattern.matches(&id).and_then(|c| c.get("tenant").map(str::to_owned)).as_deref(), Some("acme"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdPattern {
    trust_domain: TrustDomain,
    segments: Box<[PatternSegment]>,
}

/// One segment of an [`IdPattern`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternSegment {
    /// Exactly this segment.
    Exact(Box<str>),
    /// `{name}`: any one segment, remembered under the name.
    Capture(Box<str>),
    /// `*`: any one segment.
    Any,
    /// `**`: the rest, one segment or more; always last.
    Rest,
}

/// What the `{name}` segments of a pattern matched. A captured value is a SPIFFE path segment, so it never holds
/// `:`, `*`, `/` or `%`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures<'a>(Vec<(&'a str, &'a str)>);

/// Why a text is not an ID pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdPatternError {
    /// Scheme, trust domain, length or a literal segment is wrong.
    #[error(transparent)]
    Id(#[from] SpiffeIdError),
    /// `**` followed by further segments.
    #[error("\"**\" stands for the rest of the path, so it can only be the last segment")]
    RestNotLast,
    /// A wildcard mixed with other characters, as in `api*`.
    #[error(
        "the segment {found:?} mixes a wildcard with text: a segment is literal, \"*\", \"**\" or {{name}}"
    )]
    MixedSegment {
        /// The whole segment.
        found: String,
    },
    /// A wildcard or capture in the trust domain.
    #[error("the trust domain of a pattern is always literal, write one rule for each trust domain")]
    TrustDomainWildcard,
    /// A capture whose name is not `[a-z][a-z0-9_]*`.
    #[error(
        "the capture {{{found}}} is misnamed: a name is a lower-case letter, then letters, digits or '_'"
    )]
    CaptureName {
        /// The name found between the braces.
        found: String,
    },
    /// The same capture twice.
    #[error("the capture {{{found}}} occurs twice, give each its own name")]
    CaptureTwice {
        /// The name used twice.
        found: String,
    },
}

impl IdPattern {
    /// The pattern that matches `id` and nothing else.
    #[must_use]
    pub fn exact(id: &SpiffeId) -> Self {
        let segments = id.segments().map(|segment| PatternSegment::Exact(segment.into())).collect();
        Self { trust_domain: id.trust_domain(), segments }
    }

    /// The trust domain every match lies in.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The segments, for callers that build an index.
    #[must_use]
    pub fn pattern_segments(&self) -> &[PatternSegment] {
        &self.segments
    }

    /// The names of the captures, from left to right.
    pub fn capture_names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            PatternSegment::Capture(name) => Some(&**name),
            _ => None,
        })
    }

    /// The one ID this pattern matches, if it has neither wildcard nor capture.
    #[must_use]
    pub fn is_exact(&self) -> Option<SpiffeId> {
        if self.segments.iter().all(|segment| matches!(segment, PatternSegment::Exact(_))) {
            self.to_string().parse().ok()
        } else {
            None
        }
    }

    /// Whether `id` is in the set, and what it captured.
    #[must_use]
    pub fn matches<'a>(&'a self, id: &'a SpiffeId) -> Option<Captures<'a>> {
        if !id.in_trust_domain(&self.trust_domain) {
            return None;
        }
        let mut captures = Vec::new();
        let mut found = id.segments();
        for pattern in &self.segments {
            let segment = found.next()?;
            match pattern {
                PatternSegment::Exact(literal) if **literal == *segment => {}
                PatternSegment::Exact(_) => return None,
                PatternSegment::Capture(name) => captures.push((&**name, segment)),
                PatternSegment::Any => {}
                PatternSegment::Rest => return Some(Captures(captures)),
            }
        }
        found.next().is_none().then_some(Captures(captures))
    }
}

impl<'a> Captures<'a> {
    /// What `{name}` matched.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Name and value of each capture, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }
}

/// Reads one segment; `at` is its offset within the pattern.
fn segment(text: &str, at: usize) -> Result<PatternSegment, IdPatternError> {
    match text {
        "*" => return Ok(PatternSegment::Any),
        "**" => return Ok(PatternSegment::Rest),
        _ => {}
    }
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let lead = name.starts_with(|c: char| c.is_ascii_lowercase());
        if lead && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')) {
            return Ok(PatternSegment::Capture(name.into()));
        }
        return Err(IdPatternError::CaptureName { found: name.to_owned() });
    }
    if text.contains(['*', '{', '}']) {
        return Err(IdPatternError::MixedSegment { found: text.to_owned() });
    }
    spiffe_id::check_segment(text, at)?;
    Ok(PatternSegment::Exact(text.into()))
}

impl FromStr for IdPattern {
    type Err = IdPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = text.strip_prefix(SCHEME).and_then(|rest| rest.split('/').next());
        if authority.is_some_and(|name| name.contains(['*', '{', '}'])) {
            return Err(IdPatternError::TrustDomainWildcard);
        }
        let (domain, path) = spiffe_id::split(text)?;
        let mut segments: Vec<PatternSegment> = Vec::new();
        let mut at = SCHEME.len() + domain.len();
        for part in path.split('/').skip(1) {
            if segments.last() == Some(&PatternSegment::Rest) {
                return Err(IdPatternError::RestNotLast);
            }
            let next = segment(part, at + 1)?;
            if let PatternSegment::Capture(name) = &next
                && segments.contains(&next)
            {
                return Err(IdPatternError::CaptureTwice { found: name.to_string() });
            }
            segments.push(next);
            at += 1 + part.len();
        }
        Ok(Self { trust_domain: TrustDomain::assertion(domain), segments: segments.into() })
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.trust_domain)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl fmt::Display for PatternSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(literal) => f.write_str(literal),
            Self::Capture(name) => write!(f, "{{{name}}}"),
            Self::Any => f.write_str("*"),
            Self::Rest => f.write_str("**"),
        }
    }
}

//! A permission: what an identity may do at a service.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// `service:action`, such as `ledger:read` or `ledger:tenant:acme`: two or more parts of the characters
/// `a-z A-Z 0-9 . - _`, divided by `:`. Never a wildcard.
///
/// Carries its own hash, so that a lookup costs no hashing: parse once, keep, check often.
///
/// ```
/// use countersign_policy::Permission;
///
/// let permission: Permission = "ledger:tenant:acme".parse()?;
/// assert_eq!((permission.service(), permission.action()), ("ledger", "tenant:acme"));
/// # Ok::<(), countersign_policy::PermissionError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Permission {
    /// First, so that most unequal permissions part ways here.
    hash: u64,
    text: Arc<str>,
}

/// A permission as it stands in a program: judged when that is compiled.
///
/// ```
/// use countersign_policy::{Permission, PermissionLiteral};
///
/// const READ: PermissionLiteral = PermissionLiteral::new("ledger:read");
/// assert_eq!(Permission::from(READ).action(), "read");
/// ```
///
/// ```compile_fail,E0080
/// const READ: countersign_policy::PermissionLiteral = countersign_policy::PermissionLiteral::new("ledger:*");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionLiteral(&'static str);

impl PermissionLiteral {
    /// The permission of this text; for constants, where a text that is none does not compile.
    ///
    /// # Panics
    /// At run time, when it is not a constant and the text is no permission. Parse a [`Permission`] there.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        assert!(is_permission(text.as_bytes()), "expected service:action such as ledger:read");
        Self(text)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl From<PermissionLiteral> for Permission {
    fn from(literal: PermissionLiteral) -> Self {
        Self::assertion(literal.0)
    }
}

impl fmt::Display for PermissionLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

/// What [`Permission::from_str`] asks, for the compiler: two or more parts, each of at least one allowed character.
const fn is_permission(mut text: &[u8]) -> bool {
    let (mut colons, mut part_is_empty) = (0_usize, true);
    while let [octet, rest @ ..] = text {
        match *octet {
            b':' if part_is_empty => return false,
            b':' => {
                part_is_empty = true;
                colons += 1;
            }
            b'.' | b'-' | b'_' => part_is_empty = false,
            other if other.is_ascii_alphanumeric() => part_is_empty = false,
            _ => return false,
        }
        text = rest;
    }
    colons > 0 && !part_is_empty
}

/// Why a text is not a permission.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PermissionError {
    /// No `:` between service and action.
    #[error("found {found:?}, expected service:action such as ledger:read")]
    Action {
        /// The text found.
        found: String,
    },
    /// Nothing between two colons, or at an end.
    #[error("the permission {found:?} has an empty part")]
    EmptyPart {
        /// The text found.
        found: String,
    },
    /// A `*`.
    #[error("the permission {found:?} holds a wildcard, list each permission by name")]
    Wildcard {
        /// The text found.
        found: String,
    },
    /// A character outside the set, or a misplaced brace.
    #[error("the permission {found:?} holds {character:?}, expected letters, digits, '.', '-' and '_'")]
    Character {
        /// The text found.
        found: String,
        /// The first offending character.
        character: char,
    },
    /// `{capture}` as the service.
    #[error("the service of {found:?} is a capture, name the service")]
    CapturedService {
        /// The text found.
        found: String,
    },
}

impl Permission {
    /// What comes before the first `:`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.text.split_once(':').map_or("", |(service, _)| service)
    }

    /// What comes after the first `:`.
    #[must_use]
    pub fn action(&self) -> &str {
        self.text.split_once(':').map_or("", |(_, action)| action)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.text.split(':')
    }

    /// Takes a text whose parts the caller has already judged with [`check_part`], two at least.
    pub(crate) fn assertion(text: &str) -> Self {
        Self { hash: fnv1a(text), text: text.into() }
    }

    pub(crate) const fn precomputed_hash(&self) -> u64 {
        self.hash
    }
}

/// FNV-1a. Not keyed: a collision costs one comparison of texts, and equality never rests on the hash.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3))
}

/// Judges one part of the permission `whole`.
pub(crate) fn check_part(part: &str, whole: &str) -> Result<(), PermissionError> {
    let found = || whole.to_owned();
    if part.is_empty() {
        return Err(PermissionError::EmptyPart { found: found() });
    }
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
    if part.bytes().all(allowed) {
        return Ok(());
    }
    match part.chars().find(|c| !u8::try_from(*c).is_ok_and(allowed)) {
        Some('*') => Err(PermissionError::Wildcard { found: found() }),
        other => Err(PermissionError::Character { found: found(), character: other.unwrap_or_default() }),
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(':').try_for_each(|part| check_part(part, text))?;
        if !text.contains(':') {
            return Err(PermissionError::Action { found: text.to_owned() });
        }
        Ok(Self::assertion(text))
    }
}

impl TryFrom<&str> for Permission {
    type Error = PermissionError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Ord for Permission {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl PartialOrd for Permission {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permission({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_compiler_and_the_parser_agree_on_what_a_permission_is(text in "[a-c:*{}. é-]{0,8}") {
            prop_assert_eq!(is_permission(text.as_bytes()), text.parse::<Permission>().is_ok(), "{}", text);
        }
    }
}

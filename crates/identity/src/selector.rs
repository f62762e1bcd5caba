//! Selectors: one thing that is true of a process, as registrations write it.

use std::fmt;
use std::str::FromStr;

use crate::hex;

/// One thing a process must be. A registration lists several; a process must be all of them.
///
/// ```
/// use countersign_identity::Selector;
///
/// let selector: Selector = "unix:uid:1001".parse()?;
/// assert_eq!(selector, Selector::Uid(1001));
/// assert_eq!(selector.to_string(), "unix:uid:1001");
/// # Ok::<(), countersign_identity::SelectorError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Selector {
    /// `unix:uid:N`: the effective user when the process connected.
    Uid(u32),
    /// `unix:gid:N`: the effective group when the process connected.
    Gid(u32),
    /// `unix:path:/…`: where the program it runs lies.
    Path(String),
    /// `unix:sha256:…`: SHA-256 of the program it runs, lower-case hex.
    Sha256([u8; 32]),
    /// `systemd:unit:…`: the unit of the system's own manager that the process belongs to.
    Unit(String),
    /// `container:id:…`: the container it runs in, 64 hex digits.
    Container(String),
}

/// A text that is no selector.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "found the selector {found:?}, expected unix:uid:N, unix:gid:N, unix:path:/…, unix:sha256:…, systemd:unit:… or container:id:…{because}"
)]
pub struct SelectorError {
    found: String,
    because: &'static str,
}

/// Longer than any path (PATH_MAX) with its prefix.
const LONGEST: usize = 4096 + 16;

impl Selector {
    /// Whether it is about the program a process runs. Such a selector is only as good as the certainty that the process
    /// looked at is the one that called.
    #[must_use]
    pub const fn is_of_program(&self) -> bool {
        matches!(self, Self::Path(_) | Self::Sha256(_))
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrong = |because| SelectorError { found: text.chars().take(100).collect(), because };
        if text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(wrong(": it is too long or holds control characters"));
        }
        let mut parts = text.splitn(3, ':');
        let (Some(kind), Some(name), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong(""));
        };
        match (kind, name) {
            ("unix", "uid") => number(value).map(Self::Uid).ok_or_else(|| wrong(": N is a number")),
            ("unix", "gid") => number(value).map(Self::Gid).ok_or_else(|| wrong(": N is a number")),
            ("unix", "path") if value.starts_with('/') => Ok(Self::Path(value.to_owned())),
            ("unix", "path") => Err(wrong(": the path is absolute")),
            ("unix", "sha256") => digest(value).map(Self::Sha256).ok_or_else(|| wrong(": 64 hex digits")),
            ("systemd", "unit") if value.contains('.') && !value.contains('/') => {
                Ok(Self::Unit(value.to_owned()))
            }
            ("systemd", "unit") => Err(wrong(": a unit is named with its kind, as in api.service")),
            ("container", "id") if digest(value).is_some() => Ok(Self::Container(value.to_owned())),
            ("container", "id") => Err(wrong(": 64 hex digits")),
            _ => Err(wrong("")),
        }
    }
}

/// A number written in one way only, so that what is displayed is what was written.
fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|number| number.to_string() == text)
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let octets: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    (hex::encode(&octets) == text).then_some(octets)
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "unix:uid:{uid}"),
            Self::Gid(gid) => write!(f, "unix:gid:{gid}"),
            Self::Path(path) => write!(f, "unix:path:{path}"),
            Self::Sha256(digest) => write!(f, "unix:sha256:{}", hex::encode(digest)),
            Self::Unit(unit) => write!(f, "systemd:unit:{unit}"),
            Self::Container(id) => write!(f, "container:id:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_is_read_and_written_in_one_way() {
        let digest = "ab".repeat(32);
        for text in [
            "unix:uid:0".to_owned(),
            "unix:gid:4294967295".to_owned(),
            "unix:path:/opt/a b:c".to_owned(),
            format!("unix:sha256:{digest}"),
            "systemd:unit:getty@tty1.service".to_owned(),
            format!("container:id:{digest}"),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_was_expected() {
        for text in [
            "",
            "unix:uid",
            "unix:uid:",
            "unix:uid:01",
            "unix:uid:+1",
            "unix:uid:4294967296",
            "unix:path:bin/x",
            "unix:sha256:AB",
            "systemd:unit:nginx",
            "systemd:unit:a/b.service",
            "container:id:12",
            "k8s:ns:x",
            "unix:path:/a\nb",
        ] {
            let error = text.parse::<Selector>().unwrap_err();
            assert!(error.to_string().contains("expected unix:uid:N"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_understood_is_written_back_unchanged(text in "(unix|systemd|container|x):(uid|gid|path|sha256|unit|id):\\PC{0,80}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string(), text);
            }
        }
    }
}

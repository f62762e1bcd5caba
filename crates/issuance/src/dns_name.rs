//! A DNS name as it may stand in a certificate

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A host name: lower-case letters, digits and hyphens between dots (RFC 1123 §2.1), no wildcard.
///
/// ```
/// use countersign_issuance::DnsName;
///
/// let name: DnsName = "api.payments.example".parse()?;
/// assert_eq!(name.to_string(), "api.payments.example");
/// assert!("*.payments.example".parse::<DnsName>().is_err());
/// # Ok::<(), countersign_issuance::DnsNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

/// Why a text is not taken as a DNS name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DnsNameError {
    /// No characters at all.
    #[error("the DNS name is empty")]
    Empty,
    /// Longer than a host name can be.
    #[error("the DNS name has {found} characters, at most 253 are possible")]
    TooLong {
        /// How many it has.
        found: usize,
    },
    /// A wildcard would speak for machines that never enrolled.
    #[error("the DNS name {found:?} is a wildcard, register each name instead")]
    Wildcard {
        /// The name.
        found: String,
    },
    /// Numbers alone are an address to every resolver.
    #[error("{found:?} reads as an IP address, register it as one")]
    Address {
        /// The name.
        found: String,
    },
    /// A label that host names do not have.
    #[error(
        "the DNS name {name:?} has the label {found:?}, expected 1 to 63 of a-z, 0-9 and inner hyphens, and no final dot"
    )]
    Label {
        /// The name.
        name: String,
        /// The label.
        found: String,
    },
}

impl DnsName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(DnsNameError::Empty);
        }
        if text.len() > 253 {
            return Err(DnsNameError::TooLong { found: text.len() });
        }
        if text.contains('*') {
            return Err(DnsNameError::Wildcard { found: text.to_owned() });
        }
        if let Some(label) = text.split('.').find(|label| !is_label(label)) {
            return Err(DnsNameError::Label { name: text.to_owned(), found: label.to_owned() });
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(DnsNameError::Address { found: text.to_owned() });
        }
        Ok(DnsName(text.to_owned()))
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DnsName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_names_are_taken() {
        for name in [
            "a",
            "localhost",
            "api-1.payments.example",
            "xn--bcher-kva.example",
            "3com.example",
            &"a".repeat(63),
        ] {
            assert_eq!(name.parse::<DnsName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_are_no_host_names_are_refused() {
        let long_label = "a".repeat(64);
        let long = ["a"; 128].join(".");
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.example",
            "a_b.example",
            "-a.example",
            "a-.example",
            "a b",
            "ä.example",
            "*.example",
            "*",
            "a*.example",
            "10.0.0.1",
            "1.2.3",
            "a.\0b",
            "a/b",
            "a:443",
            &long_label,
            &long,
        ] {
            assert!(name.parse::<DnsName>().is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_it_shows(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<DnsName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}

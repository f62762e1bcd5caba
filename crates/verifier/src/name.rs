//! Names in certificates: distinguished names and general names (RFC 5280 §4.1.2.4, §4.2.1.6).

use crate::der::{self, DerFault, IA5_STRING, Reader, SEQUENCE, SET, constructed, context};

/// One `GeneralName`, as far as anybody here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeneralName<'a> {
    Email(&'a str),
    Dns(&'a str),
    Uri(&'a str),
    Ip(&'a [u8]),
    Directory(&'a [u8]),
    Other,
}

impl<'a> GeneralName<'a> {
    /// The next value, which must be a general name in the right encoding; whether it makes sense is not asked.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DerFault> {
        let value = reader.any()?;
        let content = value.content;
        match value.tag {
            tag if tag == constructed(0) => other_name(content).map(|()| Self::Other),
            tag if tag == context(1) => ia5(content).map(Self::Email),
            tag if tag == context(2) => ia5(content).map(Self::Dns),
            tag if tag == constructed(3) || tag == constructed(5) => value.is_der().map(|()| Self::Other),
            tag if tag == constructed(4) => {
                let mut choice = Reader::new(content);
                let name = choice.take(SEQUENCE)?;
                choice.end()?;
                distinguished_name(name)?;
                Ok(Self::Directory(name))
            }
            tag if tag == context(6) => ia5(content).map(Self::Uri),
            tag if tag == context(7) => Ok(Self::Ip(content)),
            tag if tag == context(8) => der::object_identifier(content).map(|_| Self::Other),
            _ => Err(DerFault::Unexpected),
        }
    }

    /// Whether it can name anybody (RFC 5280 §4.2.1.6). A URI is left to who reads it.
    pub(crate) fn names_somebody(&self) -> Result<(), DerFault> {
        let good = match self {
            Self::Email(mailbox) => matches!(mailbox.split_once('@'), Some((user, host))
                if !user.is_empty() && is_dns_name(host)),
            Self::Dns(name) => is_dns_name(name.strip_prefix("*.").unwrap_or(name)),
            Self::Ip(octets) => matches!(octets.len(), 4 | 16),
            Self::Directory(name) => !name.is_empty(),
            Self::Uri(_) | Self::Other => true,
        };
        if good { Ok(()) } else { Err(DerFault::Value) }
    }
}

/// Hands every one of `GeneralNames`, of which there is at least one, to `each`.
pub(crate) fn general_names<'a>(
    content: &'a [u8],
    mut each: impl FnMut(GeneralName<'a>) -> Result<(), DerFault>,
) -> Result<(), DerFault> {
    let mut names = Reader::new(content);
    if names.is_empty() {
        return Err(DerFault::Empty);
    }
    while !names.is_empty() {
        each(GeneralName::read(&mut names)?)?;
    }
    Ok(())
}

/// The content of a `Name`: sets of attributes, each set sorted, no set empty.
pub(crate) fn distinguished_name(content: &[u8]) -> Result<(), DerFault> {
    let mut name = Reader::new(content);
    while !name.is_empty() {
        relative_name(name.take(SET)?)?;
    }
    Ok(())
}

/// The content of a `RelativeDistinguishedName`.
pub(crate) fn relative_name(content: &[u8]) -> Result<(), DerFault> {
    let mut set = Reader::new(content);
    if set.is_empty() {
        return Err(DerFault::Empty);
    }
    let mut before: &[u8] = &[];
    while !set.is_empty() {
        let attribute = set.value(SEQUENCE)?;
        // X.690 §11.6: ascending.
        if attribute.whole < before {
            return Err(DerFault::Order);
        }
        before = attribute.whole;
        let mut pair = Reader::new(attribute.content);
        pair.oid()?;
        pair.any()?.is_der()?;
        pair.end()?;
    }
    Ok(())
}

fn other_name(content: &[u8]) -> Result<(), DerFault> {
    let mut name = Reader::new(content);
    name.oid()?;
    let mut explicit = name.inside(constructed(0))?;
    name.end()?;
    explicit.any()?.is_der()?;
    explicit.end()
}

fn ia5(content: &[u8]) -> Result<&str, DerFault> {
    der::text(IA5_STRING, content)?;
    str::from_utf8(content).map_err(|_| DerFault::Text)
}

/// The preferred name syntax (RFC 1034 §3.5, RFC 1123 §2.1), with the underscore that is seen everywhere. A name whose
/// last label is a number is an IPv4 address in the wrong place.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> bool {
        GeneralName::Dns(name).names_somebody().is_ok()
    }

    #[test]
    fn dns_names_are_labels_of_letters_digits_and_hyphens() {
        for good in ["a", "db.internal", "*.example.com", "xn--caf-dma.example", "_srv.example.com", "1.a"] {
            assert!(dns(good), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            " ",
            ".",
            ".example.com",
            "example.com.",
            "a..b",
            "a b",
            "-a.example",
            "a-.example",
            "127.0.0.1",
            "*",
            "*.*.example",
            "a.*.example",
            "ex*mple.com",
            "exa\u{0}mple.com",
            "a/b",
            "user@example.com",
            &long,
        ] {
            assert!(!dns(bad), "{bad}");
        }
    }

    #[test]
    fn an_ip_address_has_four_octets_or_sixteen() {
        assert!(GeneralName::Ip(&[127, 0, 0, 1]).names_somebody().is_ok());
        assert!(GeneralName::Ip(&[0; 16]).names_somebody().is_ok());
        for octets in [&[][..], &[127, 0, 0], &[10, 0, 0, 0, 255, 0, 0, 0]] {
            assert!(GeneralName::Ip(octets).names_somebody().is_err(), "{octets:?}");
        }
    }

    #[test]
    fn a_mailbox_has_a_user_and_a_host() {
        assert!(GeneralName::Email("ops@example.com").names_somebody().is_ok());
        for bad in ["ops", "@example.com", "ops@", "ops@a@b", "Ops <ops@example.com>"] {
            assert!(GeneralName::Email(bad).names_somebody().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_set_of_attributes_is_sorted_and_not_empty() {
        let cn = [0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, b'a'];
        let country = [0x30, 8, 6, 3, 0x55, 4, 6, 0x13, 1, b'a'];
        assert_eq!(relative_name(&[cn, country].concat()), Ok(()));
        assert_eq!(relative_name(&[country, cn].concat()), Err(DerFault::Order));
        assert_eq!(relative_name(&[]), Err(DerFault::Empty));
        assert_eq!(distinguished_name(&[]), Ok(()));
    }
}

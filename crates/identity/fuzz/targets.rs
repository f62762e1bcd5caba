//! What must hold of any octets that are read as a name, a number or a time.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use countersign_identity::{
    IdPattern, KeyHash, Lineage, MachineId, Selector, Serial, SpiffeId, Timestamp, TrustDomain, duration, hex,
};

/// A SPIFFE ID is its one spelling, and lies in its trust domain.
pub fn spiffe_id(octets: &[u8]) {
    let Some(text) = text(octets) else { return };
    let Ok(id) = text.parse::<SpiffeId>() else { return };
    assert_eq!(id.to_string(), text, "nothing is normalised");
    assert!(text.len() <= 2048);
    let domain = id.trust_domain();
    assert!(id.in_trust_domain(&domain) && text.starts_with(&domain.id()));
    assert_eq!(domain.with_path(id.path()).as_ref(), Ok(&id));
    for segment in id.segments() {
        assert!(!matches!(segment, "" | "." | ".."), "{text}");
        assert!(
            segment.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet)),
            "{text}"
        );
    }
    let exact = IdPattern::exact(&id);
    assert!(exact.matches(&id).is_some());
    assert_eq!(exact.is_exact(), Some(id));
}

/// A pattern on the first line, a SPIFFE ID on the second: what matches is of the pattern's trust domain, and captures
/// are whole segments of the ID.
pub fn id_pattern(octets: &[u8]) {
    let Some((pattern, id)) = text(octets).map(|text| text.split_once('\n').unwrap_or((text, ""))) else {
        return;
    };
    let Ok(pattern) = pattern.parse::<IdPattern>().inspect(|read| assert_eq!(read.to_string(), pattern))
    else {
        return;
    };
    let Ok(id) = id.parse::<SpiffeId>() else { return };
    let Some(captures) = pattern.matches(&id) else {
        assert_ne!(pattern.is_exact(), Some(id));
        return;
    };
    assert!(id.in_trust_domain(pattern.trust_domain()));
    assert_eq!(captures.iter().count(), pattern.capture_names().count());
    for name in pattern.capture_names() {
        let value = captures.get(name).expect("each capture of a match has a value");
        assert!(id.segments().any(|segment| segment == value));
        assert!(!value.contains([':', '*']));
    }
    if let Some(exact) = pattern.is_exact() {
        assert_eq!(exact, id);
    }
}

/// Every smaller value: what is read is written as it was read.
pub fn values(octets: &[u8]) {
    let Some(text) = text(octets) else { return };
    is_written_as_read::<TrustDomain>(text);
    is_written_as_read::<Lineage>(text);
    is_written_as_read::<MachineId>(text);
    is_written_as_read::<KeyHash>(text);
    is_written_as_read::<Selector>(text);
    is_read_back::<Serial>(text);
    is_read_back::<Timestamp>(text);
    if let Ok(duration) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(duration)), Ok(duration));
    }
    if let Ok(octets) = hex::decode(text) {
        assert_eq!(hex::decode(&hex::encode(&octets)), Ok(octets));
    }
    if let Ok(serial) = Serial::from_be_bytes(octets) {
        assert_eq!(serial.to_string().parse(), Ok(serial));
    }
}

fn is_written_as_read<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

fn is_read_back<T: FromStr<Err: Debug> + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().expect("what is written is read"), value);
    }
}

fn text(octets: &[u8]) -> Option<&str> {
    str::from_utf8(octets).ok()
}

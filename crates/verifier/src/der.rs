//! DER as X.690 §10 and §11 demand it: one form for each value, and nothing behind it.

/// How deep values may be nested where nobody knows their meaning.
const DEPTH_LIMIT: usize = 16;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const NUMERIC_STRING: u8 = 0x12;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const BMP_STRING: u8 = 0x1e;
pub(crate) const UNIVERSAL_STRING: u8 = 0x1c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
const NULL: u8 = 0x05;
const CONSTRUCTED: u8 = 0x20;

/// The tag `[number]` of a primitive value.
pub(crate) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// The tag `[number]` of a constructed value.
pub(crate) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// What is wrong with some octets, as the end of a sentence that begins with the part they stand in.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DerFault {
    #[error("ends too early")]
    Truncated,
    #[error("has a length in a form DER forbids")]
    Length,
    #[error("has a tag in a form no certificate uses")]
    Tag,
    #[error("goes on after its end")]
    Trailing,
    #[error("holds a value of another type than expected")]
    Unexpected,
    #[error("holds an integer, boolean, bit string or object identifier in a form DER forbids")]
    Form,
    #[error("spells out a default value, which DER forbids")]
    Default,
    #[error("is empty, expected at least one entry")]
    Empty,
    #[error("is nested too deep")]
    Depth,
    #[error("holds a set out of order, which DER forbids")]
    Order,
    #[error("holds text in the wrong character set")]
    Text,
    #[error("holds something twice, or too much")]
    Twice,
    #[error("holds a value that cannot be")]
    Value,
}

/// Reads one value after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// One value: its tag, its content, and all of its octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) const fn end(&self) -> Result<(), DerFault> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerFault::Trailing) }
    }

    /// The next value, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Value<'a>, DerFault> {
        let [tag, length, after @ ..] = self.rest else { return Err(DerFault::Truncated) };
        if tag & 0x1f == 0x1f {
            return Err(DerFault::Tag);
        }
        let (length, after) = match length {
            short @ 0..=0x7f => (usize::from(*short), after),
            long => long_length(long & 0x7f, after)?,
        };
        let (content, rest) = after.split_at_checked(length).ok_or(DerFault::Truncated)?;
        let whole = self.rest.get(..self.rest.len() - rest.len()).ok_or(DerFault::Truncated)?;
        self.rest = rest;
        Ok(Value { tag: *tag, content, whole })
    }

    /// The next value, which must have this tag.
    pub(crate) fn value(&mut self, tag: u8) -> Result<Value<'a>, DerFault> {
        let value = self.any()?;
        if value.tag == tag { Ok(value) } else { Err(DerFault::Unexpected) }
    }

    /// The content of the next value, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Result<&'a [u8], DerFault> {
        self.value(tag).map(|value| value.content)
    }

    /// A reader of the content of the next value, which must have this tag.
    pub(crate) fn inside(&mut self, tag: u8) -> Result<Self, DerFault> {
        self.take(tag).map(Self::new)
    }

    /// The content of the next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DerFault> {
        if self.rest.first() == Some(&tag) { self.take(tag).map(Some) } else { Ok(None) }
    }

    /// `BOOLEAN DEFAULT FALSE`: there if it is true (X.690 §11.5).
    pub(crate) fn flag(&mut self) -> Result<bool, DerFault> {
        match self.optional(BOOLEAN)? {
            None => Ok(false),
            Some(content) if boolean(content)? => Ok(true),
            Some(_) => Err(DerFault::Default),
        }
    }

    /// An `INTEGER`, as it stands there.
    pub(crate) fn integer(&mut self) -> Result<&'a [u8], DerFault> {
        self.take(INTEGER).and_then(minimal_integer)
    }

    /// An `OBJECT IDENTIFIER`, as it stands there.
    pub(crate) fn oid(&mut self) -> Result<&'a [u8], DerFault> {
        self.take(OID).and_then(object_identifier)
    }

    /// A `BIT STRING` of whole octets.
    pub(crate) fn octets_in_bits(&mut self) -> Result<&'a [u8], DerFault> {
        match self.take(BIT_STRING)? {
            [0, octets @ ..] => Ok(octets),
            _ => Err(DerFault::Form),
        }
    }
}

impl Value<'_> {
    /// Whether everything inside is DER, as far as that shows without knowing what it means.
    pub(crate) fn is_der(&self) -> Result<(), DerFault> {
        well_formed(*self, DEPTH_LIMIT)
    }
}

fn long_length(count: u8, after: &[u8]) -> Result<(usize, &[u8]), DerFault> {
    // No certificate or list here is longer than four octets can count.
    if !(1..=4).contains(&count) {
        return Err(DerFault::Length);
    }
    let (octets, after) = after.split_at_checked(usize::from(count)).ok_or(DerFault::Truncated)?;
    let length = octets.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
    if length < 0x80 || octets.first() == Some(&0) {
        return Err(DerFault::Length);
    }
    usize::try_from(length).map(|length| (length, after)).map_err(|_| DerFault::Length)
}

fn well_formed(value: Value<'_>, depth: usize) -> Result<(), DerFault> {
    let content = value.content;
    match value.tag {
        tag if tag & CONSTRUCTED != 0 => {
            let depth = depth.checked_sub(1).ok_or(DerFault::Depth)?;
            let mut inside = Reader::new(content);
            while !inside.is_empty() {
                well_formed(inside.any()?, depth)?;
            }
            Ok(())
        }
        BOOLEAN => boolean(content).map(|_| ()),
        INTEGER => minimal_integer(content).map(|_| ()),
        OID => object_identifier(content).map(|_| ()),
        BIT_STRING => bits(content).map(|_| ()),
        NULL if !content.is_empty() => Err(DerFault::Form),
        _ => text(value.tag, content),
    }
}

/// A `BOOLEAN` (X.690 §11.1).
pub(crate) const fn boolean(content: &[u8]) -> Result<bool, DerFault> {
    match content {
        [0] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(DerFault::Form),
    }
}

/// An `INTEGER` in as few octets as it needs (X.690 §8.3.2).
pub(crate) const fn minimal_integer(content: &[u8]) -> Result<&[u8], DerFault> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(DerFault::Form),
        minimal => Ok(minimal),
    }
}

/// An `OBJECT IDENTIFIER`, each arc in as few octets as it needs (X.690 §8.19.2).
pub(crate) fn object_identifier(content: &[u8]) -> Result<&[u8], DerFault> {
    let complete = content.last().is_some_and(|last| last & 0x80 == 0);
    let mut begins = true;
    for octet in content {
        if begins && *octet == 0x80 {
            return Err(DerFault::Form);
        }
        begins = octet & 0x80 == 0;
    }
    if complete { Ok(content) } else { Err(DerFault::Form) }
}

/// A `BIT STRING`: the number of unused bits, which are zero (X.690 §11.2.1), and its octets.
pub(crate) fn bits(content: &[u8]) -> Result<(u8, &[u8]), DerFault> {
    match content {
        [0] => Ok((0, &[])),
        [unused @ 0..=7, octets @ ..] => match octets.last() {
            Some(last) if last & ((1 << unused) - 1) == 0 => Ok((*unused, octets)),
            _ => Err(DerFault::Form),
        },
        _ => Err(DerFault::Form),
    }
}

/// A `BIT STRING` of named bits, which ends with a set bit (X.690 §11.2.2); at least one is set.
pub(crate) fn named_bits(content: &[u8]) -> Result<u16, DerFault> {
    let (unused, octets) = bits(content)?;
    let last = octets.last().ok_or(DerFault::Empty)?;
    if last.trailing_zeros() != u32::from(unused) {
        return Err(DerFault::Form);
    }
    match octets {
        [first] => Ok(u16::from_be_bytes([*first, 0])),
        [first, second] => Ok(u16::from_be_bytes([*first, *second])),
        _ => Err(DerFault::Value),
    }
}

/// Text holds nothing but what its type allows (X.680 §41).
pub(crate) fn text(tag: u8, content: &[u8]) -> Result<(), DerFault> {
    let good = match tag {
        UTF8_STRING => str::from_utf8(content).is_ok(),
        NUMERIC_STRING => content.iter().all(|octet| matches!(octet, b'0'..=b'9' | b' ')),
        PRINTABLE_STRING => content.iter().all(|octet| printable(*octet)),
        IA5_STRING => content.is_ascii(),
        BMP_STRING => content.len().is_multiple_of(2),
        UNIVERSAL_STRING => content.len().is_multiple_of(4),
        _ => true,
    };
    if good { Ok(()) } else { Err(DerFault::Text) }
}

const fn printable(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(octet, b' ' | b'\'' | b'(' | b')' | b'+' | b',' | b'-' | b'.' | b'/' | b':' | b'=' | b'?')
}

/// An object identifier in dots.
pub(crate) fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut arc = 0_u128;
    for octet in oid {
        arc = arc.wrapping_shl(7) | u128::from(octet & 0x7f);
        if octet & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            text = format!("{first}.{}", arc - first * 40);
        } else {
            text.push_str(&format!(".{arc}"));
        }
        arc = 0;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(octets: &[u8]) -> Result<Value<'_>, DerFault> {
        let mut reader = Reader::new(octets);
        let value = reader.any()?;
        reader.end()?;
        value.is_der()?;
        Ok(value)
    }

    #[test]
    fn a_length_has_one_form() {
        assert!(one(&[4, 1, 7]).is_ok());
        for (octets, fault) in [
            (&[4, 0x81, 1, 7][..], DerFault::Length),
            (&[4, 0x82, 0, 1, 7], DerFault::Length),
            (&[4, 0x80, 7, 0, 0], DerFault::Length),
            (&[4, 0x85, 0, 0, 0, 0, 1, 7], DerFault::Length),
            (&[4, 2, 7], DerFault::Truncated),
            (&[4, 0x84, 0xff, 0xff, 0xff, 0xff], DerFault::Truncated),
            (&[4], DerFault::Truncated),
            (&[4, 1, 7, 0], DerFault::Trailing),
            (&[0x1f, 1, 7], DerFault::Tag),
        ] {
            assert_eq!(one(octets).err(), Some(fault), "{octets:x?}");
        }
    }

    #[test]
    fn values_have_one_form() {
        for good in [&[1, 1, 0xff][..], &[2, 1, 0], &[2, 2, 0, 0x80], &[3, 2, 7, 0x80], &[6, 3, 0x55, 4, 3]] {
            assert!(one(good).is_ok(), "{good:x?}");
        }
        for bad in [
            &[1, 1, 1][..],
            &[1, 0],
            &[2, 0],
            &[2, 2, 0, 1],
            &[2, 2, 0xff, 0x80],
            &[3, 0],
            &[3, 2, 8, 0],
            &[3, 2, 1, 1],
            &[3, 1, 1],
            &[6, 0],
            &[6, 2, 0x80, 1],
            &[6, 2, 0x55, 0x81],
        ] {
            assert_eq!(one(bad).err(), Some(DerFault::Form), "{bad:x?}");
        }
        assert_eq!(one(&[0x13, 1, b'@']).err(), Some(DerFault::Text));
        assert_eq!(one(&[0x0c, 1, 0xff]).err(), Some(DerFault::Text));
    }

    #[test]
    fn a_default_is_not_spelled_out() {
        assert_eq!(Reader::new(&[1, 1, 0]).flag(), Err(DerFault::Default));
        assert_eq!(Reader::new(&[1, 1, 0xff]).flag(), Ok(true));
        assert_eq!(Reader::new(&[]).flag(), Ok(false));
    }

    #[test]
    fn named_bits_end_with_a_set_one() {
        assert_eq!(named_bits(&[7, 0x80]), Ok(0x8000));
        assert_eq!(named_bits(&[7, 6, 0x80]), Ok(0x0680));
        assert_eq!(named_bits(&[0, 0x80]), Err(DerFault::Form));
        assert_eq!(named_bits(&[0, 0x81, 0]), Err(DerFault::Form));
        assert_eq!(named_bits(&[0]), Err(DerFault::Empty));
    }

    #[test]
    fn nesting_ends_somewhere() {
        let deep = countersign_testkit::mangle::nested(100);
        assert_eq!(one(&deep).err(), Some(DerFault::Depth));
    }

    #[test]
    fn object_identifiers_are_written_in_dots() {
        assert_eq!(dotted(&[0x55, 0x1d, 0x11]), "2.5.29.17");
        assert_eq!(dotted(&[0x2b, 6, 1, 4, 1, 0x83, 0xb3, 0x3a]), "1.3.6.1.4.1.55738");
        assert_eq!(dotted(&[0x88, 0x37, 3]), "2.999.3");
    }
}

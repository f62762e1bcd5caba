//! A strict, allocation-free reader of DER values

use thiserror::Error;

use super::tag;

/// Why bytes are not DER, or not the DER that was expected here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DerError {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Bytes follow where nothing may.
    #[error("{0} bytes follow where the value should end")]
    Trailing(usize),
    /// A length in more octets than it needs (X.690 §10.1).
    #[error("a length is written in more octets than it needs")]
    NonMinimalLength,
    /// The indefinite form, which is BER only (X.690 §10.1).
    #[error("a length has the indefinite form, which DER forbids")]
    IndefiniteLength,
    /// Tag numbers above 30 appear in no certificate.
    #[error("tag octet {0:#04x} begins a multi-octet tag, which no certificate needs")]
    HighTag(u8),
    /// Another type than the standard puts here.
    #[error("found tag {found:#04x}, expected {expected:#04x}")]
    UnexpectedTag {
        /// The tag that is there.
        found: u8,
        /// The tag that should be there.
        expected: u8,
    },
    /// Nested deeper than anything legitimate.
    #[error("values are nested deeper than {0} levels")]
    TooDeep(usize),
    /// A value that its type does not allow.
    #[error("{0}")]
    Value(&'static str),
}

/// One value: its tag, its content, and all its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) raw: &'a [u8],
}

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Says that nothing may follow.
    pub(crate) fn finish(&self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError::Trailing(self.rest.len())) }
    }

    /// The next value, of whatever type.
    pub(crate) fn next(&mut self) -> Result<Tlv<'a>, DerError> {
        let start = self.rest;
        let (&tag, after_tag) = start.split_first().ok_or(DerError::Truncated)?;
        if tag & 0x1f == 0x1f {
            return Err(DerError::HighTag(tag));
        }
        let (length, after_length) = length(after_tag)?;
        let (content, rest) = after_length.split_at_checked(length).ok_or(DerError::Truncated)?;
        let raw = start.get(..start.len() - rest.len()).ok_or(DerError::Truncated)?;
        self.rest = rest;
        Ok(Tlv { tag, content, raw })
    }

    /// The next value, which must have this tag.
    pub(crate) fn expect(&mut self, expected: u8) -> Result<Tlv<'a>, DerError> {
        let value = self.next()?;
        if value.tag == expected {
            Ok(value)
        } else {
            Err(DerError::UnexpectedTag { found: value.tag, expected })
        }
    }

    /// The next value if it has this tag; otherwise nothing is consumed.
    pub(crate) fn optional(&mut self, expected: u8) -> Result<Option<Tlv<'a>>, DerError> {
        match self.rest.first() {
            Some(&found) if found == expected => self.next().map(Some),
            _ => Ok(None),
        }
    }

    /// A reader over the content of the next value, which must be a SEQUENCE.
    pub(crate) fn sequence(&mut self) -> Result<Reader<'a>, DerError> {
        Ok(Reader::new(self.expect(tag::SEQUENCE)?.content))
    }
}

/// Reads a definite, minimal length (X.690 §8.1.3, §10.1).
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = bytes.split_first().ok_or(DerError::Truncated)?;
    match first {
        0x00..=0x7f => Ok((usize::from(first), rest)),
        0x80 => Err(DerError::IndefiniteLength),
        // Four octets reach 4 GiB; nothing here is ever that long.
        0x81..=0x84 => {
            let (octets, rest) =
                rest.split_at_checked(usize::from(first & 0x7f)).ok_or(DerError::Truncated)?;
            let length = octets.iter().fold(0u64, |sum, octet| sum << 8 | u64::from(*octet));
            if octets.first() == Some(&0) || length < 0x80 {
                return Err(DerError::NonMinimalLength);
            }
            Ok((usize::try_from(length).map_err(|_| DerError::Truncated)?, rest))
        }
        _ => Err(DerError::Value("a length has more than four octets")),
    }
}

/// The bits of a BIT STRING that fills whole octets, as keys and signatures do.
pub(crate) fn bit_string_without_unused(content: &[u8]) -> Result<&[u8], DerError> {
    match content.split_first() {
        Some((0, bits)) => Ok(bits),
        _ => Err(DerError::Value("a BIT STRING of whole octets is expected here")),
    }
}

/// Walks every value, at most `depth` levels deep, and checks that each is canonical: this is the check of the
/// encoding alone, whatever the values mean. OCTET STRINGs are opaque to it.
pub(crate) fn walk(bytes: &[u8], depth: usize) -> Result<(), DerError> {
    walk_level(bytes, depth, depth)
}

fn walk_level(bytes: &[u8], left: usize, depth: usize) -> Result<(), DerError> {
    let Some(left) = left.checked_sub(1) else {
        return Err(DerError::TooDeep(depth));
    };
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let value = reader.next()?;
        canonical(&value)?;
        if value.tag & 0x20 != 0 {
            walk_level(value.content, left, depth)?;
        }
    }
    Ok(())
}

/// The restrictions of X.690 §8 and §11 on one value of a universal type.
fn canonical(value: &Tlv<'_>) -> Result<(), DerError> {
    let content = value.content;
    match value.tag {
        0x00 => Err(DerError::Value("an end-of-contents marker, which is BER only")),
        tag::BOOLEAN if !matches!(content, [0x00 | 0xff]) => {
            Err(DerError::Value("a BOOLEAN is neither 00 nor ff"))
        }
        tag::INTEGER => match content {
            [] => Err(DerError::Value("an INTEGER has no octets")),
            [0x00, next, ..] if next & 0x80 == 0 => {
                Err(DerError::Value("an INTEGER has a needless leading 00"))
            }
            [0xff, next, ..] if next & 0x80 != 0 => {
                Err(DerError::Value("an INTEGER has a needless leading ff"))
            }
            _ => Ok(()),
        },
        tag::BIT_STRING => match content {
            [] | [1..=7] | [8..=0xff, ..] => Err(DerError::Value("a BIT STRING miscounts its unused bits")),
            [unused, .., last] if last & ((1 << *unused) - 1) != 0 => {
                Err(DerError::Value("a BIT STRING has unused bits that are not zero"))
            }
            _ => Ok(()),
        },
        tag::NULL if !content.is_empty() => Err(DerError::Value("a NULL has content")),
        tag::OBJECT_IDENTIFIER if !minimal_arcs(content) => {
            Err(DerError::Value("an OBJECT IDENTIFIER is not minimal or not complete"))
        }
        // SEQUENCE and SET are always constructed, every other universal type never is (X.690 §10.2).
        0x10 | 0x11 => Err(DerError::Value("a SEQUENCE or SET is not constructed")),
        universal @ 0x20..=0x3f if !matches!(universal, tag::SEQUENCE | tag::SET) => {
            Err(DerError::Value("a string is constructed, which is BER only"))
        }
        _ => Ok(()),
    }
}

fn minimal_arcs(content: &[u8]) -> bool {
    let mut starts = true;
    for octet in content {
        if starts && *octet == 0x80 {
            return false;
        }
        starts = octet & 0x80 == 0;
    }
    starts && !content.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_definite_and_minimal() {
        assert_eq!(length(&[0x7f]), Ok((0x7f, &[][..])));
        assert_eq!(length(&[0x81, 0x80]), Ok((0x80, &[][..])));
        assert_eq!(length(&[0x81, 0x7f]), Err(DerError::NonMinimalLength));
        assert_eq!(length(&[0x82, 0x00, 0x80]), Err(DerError::NonMinimalLength));
        assert_eq!(length(&[0x80]), Err(DerError::IndefiniteLength));
        assert_eq!(
            length(&[0x85, 1, 1, 1, 1, 1]),
            Err(DerError::Value("a length has more than four octets"))
        );
        assert_eq!(length(&[0x82, 0x01]), Err(DerError::Truncated));
    }

    #[test]
    fn every_non_canonical_value_is_found_by_the_walk() {
        for (bytes, why) in [
            (&[0x01, 0x01, 0x01][..], "boolean 01"),
            (&[0x02, 0x00], "empty integer"),
            (&[0x02, 0x02, 0x00, 0x7f], "padded integer"),
            (&[0x02, 0x02, 0xff, 0x80], "padded negative integer"),
            (&[0x03, 0x00], "bit string without its first octet"),
            (&[0x03, 0x01, 0x03], "unused bits of nothing"),
            (&[0x03, 0x02, 0x08, 0x00], "eight unused bits"),
            (&[0x03, 0x02, 0x07, 0xff], "unused bits set"),
            (&[0x05, 0x01, 0x00], "null with content"),
            (&[0x06, 0x00], "empty object identifier"),
            (&[0x06, 0x02, 0x80, 0x01], "padded arc"),
            (&[0x06, 0x01, 0x81], "unfinished arc"),
            (&[0x10, 0x00], "primitive sequence"),
            (&[0x24, 0x02, 0x04, 0x00], "constructed octet string"),
            (&[0x00, 0x00], "end of contents"),
            (&[0x1f, 0x81, 0x01, 0x00], "high tag"),
        ] {
            assert!(walk(bytes, 4).is_err(), "{why}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |levels: usize| {
            let mut bytes = Vec::new();
            for _ in 0..levels {
                bytes.splice(0..0, [0x30, u8::try_from(bytes.len()).unwrap()]);
            }
            bytes
        };
        assert_eq!(walk(&nested(15), 16), Ok(()));
        assert_eq!(walk(&nested(16), 16), Err(DerError::TooDeep(16)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_walk_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = walk(&bytes, 16);
        }
    }
}

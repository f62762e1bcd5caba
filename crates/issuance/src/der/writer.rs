//! A small writer of DER values

use countersign_identity::Timestamp;

use super::tag;

/// Appends values to one buffer; a container's length is filled in when its content is known.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(octets: usize) -> Self {
        Writer { bytes: Vec::with_capacity(octets) }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Octets that already are DER.
    pub(crate) fn raw(&mut self, der: &[u8]) {
        self.bytes.extend_from_slice(der);
    }

    /// A value with primitive content.
    pub(crate) fn value(&mut self, tag: u8, content: &[u8]) {
        self.nested(tag, |w| w.raw(content));
    }

    /// A value whose content is written by `content`.
    pub(crate) fn nested(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        self.bytes.push(tag);
        let start = self.bytes.len();
        content(self);
        let length = self.bytes.len() - start;
        match u8::try_from(length) {
            Ok(short @ 0..=0x7f) => self.bytes.insert(start, short),
            _ => {
                let octets = length.to_be_bytes();
                let significant = octets.iter().skip_while(|octet| **octet == 0);
                let count = significant.clone().count();
                // A usize has at most eight octets, so the count always fits.
                let first = 0x80 | u8::try_from(count).unwrap_or(8);
                self.bytes.splice(start..start, std::iter::once(first).chain(significant.copied()));
            }
        }
    }

    pub(crate) fn sequence(&mut self, content: impl FnOnce(&mut Self)) {
        self.nested(tag::SEQUENCE, content);
    }

    pub(crate) fn oid(&mut self, content: &[u8]) {
        self.value(tag::OBJECT_IDENTIFIER, content);
    }

    /// A non-negative INTEGER from its big-endian magnitude.
    pub(crate) fn unsigned(&mut self, magnitude: &[u8]) {
        let zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
        let significant = magnitude.get(zeros..).unwrap_or_default();
        self.nested(tag::INTEGER, |w| {
            // A set top bit would read as negative; no octets at all would be no number.
            if significant.first().is_none_or(|octet| octet & 0x80 != 0) {
                w.raw(&[0]);
            }
            w.raw(significant);
        });
    }

    /// A BIT STRING of whole octets.
    pub(crate) fn bit_string(&mut self, bits: &[u8]) {
        self.nested(tag::BIT_STRING, |w| {
            w.raw(&[0]);
            w.raw(bits);
        });
    }

    /// A point in time as RFC 5280 §4.1.2.5 demands: UTCTime until 2049, GeneralizedTime from 2050, always `Z`.
    pub(crate) fn time(&mut self, time: Timestamp) {
        let (year, month, day, hour, minute, second) = time.civil();
        let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        if (1950..=2049).contains(&year) {
            self.value(tag::UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes());
        } else {
            self.value(tag::GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Reader, walk};
    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut w = Writer::default();
        write(&mut w);
        w.into_bytes()
    }

    #[test]
    fn numbers_are_minimal_and_never_negative() {
        assert_eq!(written(|w| w.unsigned(&[])), [0x02, 0x01, 0x00]);
        assert_eq!(written(|w| w.unsigned(&[0, 0])), [0x02, 0x01, 0x00]);
        assert_eq!(written(|w| w.unsigned(&[0, 0x7f])), [0x02, 0x01, 0x7f]);
        assert_eq!(written(|w| w.unsigned(&[0x80])), [0x02, 0x02, 0x00, 0x80]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        let utc = written(|w| w.time("2049-12-31T23:59:59Z".parse().unwrap()));
        assert_eq!(utc, [&[0x17, 13], &b"491231235959Z"[..]].concat());
        let generalized = written(|w| w.time("2050-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(generalized, [&[0x18, 15], &b"20500101000000Z"[..]].concat());
    }

    #[test]
    fn lengths_take_the_octets_they_need() {
        for (content, header) in [
            (0x7f, &[0x04, 0x7f][..]),
            (0x80, &[0x04, 0x81, 0x80]),
            (0xff, &[0x04, 0x81, 0xff]),
            (0x100, &[0x04, 0x82, 0x01, 0x00]),
            (0x1_0000, &[0x04, 0x83, 0x01, 0x00, 0x00]),
        ] {
            let der = written(|w| w.value(tag::OCTET_STRING, &vec![7; content]));
            assert_eq!((&der[..header.len()], der.len()), (header, header.len() + content));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back_whole(content in proptest::collection::vec(any::<u8>(), 0..600)) {
            let der = written(|w| w.sequence(|w| w.value(tag::OCTET_STRING, &content)));
            prop_assert_eq!(walk(&der, 4), Ok(()));
            let mut outer = Reader::new(&der);
            let mut inner = outer.sequence().unwrap();
            prop_assert_eq!(inner.expect(tag::OCTET_STRING).unwrap().content, &content[..]);
            prop_assert!(inner.finish().is_ok() && outer.finish().is_ok());
        }
    }
}

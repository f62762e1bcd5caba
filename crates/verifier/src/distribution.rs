//! Where revocation lists are to be had, and for what they speak (RFC 5280 §4.2.1.13, §5.2.5).

use crate::der::{DerFault, Reader, SEQUENCE, constructed, context, named_bits};
use crate::name::{general_names, relative_name};

/// One `DistributionPoint` of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point<'a> {
    pub(crate) name: Option<PointName<'a>>,
    pub(crate) reasons: Option<u16>,
    /// Another issuer signs the list, which then is an indirect one.
    pub(crate) foreign: bool,
}

/// One `DistributionPointName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointName<'a> {
    /// The content of `GeneralNames`.
    Full(&'a [u8]),
    /// The content of a `RelativeDistinguishedName` below the issuer's name.
    Relative(&'a [u8]),
}

impl<'a> Point<'a> {
    fn read(content: &'a [u8]) -> Result<Self, DerFault> {
        let mut fields = Reader::new(content);
        let name = fields.optional(constructed(0))?.map(PointName::read).transpose()?;
        let reasons = fields.optional(context(1))?.map(named_bits).transpose()?;
        let issuer = fields.optional(constructed(2))?;
        fields.end()?;
        if let Some(issuer) = issuer {
            general_names(issuer, |_| Ok(()))?;
        }
        // RFC 5280 §4.2.1.13: reasons alone say nothing.
        if name.is_none() && issuer.is_none() {
            return Err(DerFault::Empty);
        }
        Ok(Self { name, reasons, foreign: issuer.is_some() })
    }
}

impl<'a> PointName<'a> {
    /// Reads the content of an (explicit, being a choice) `DistributionPointName`.
    pub(crate) fn read(content: &'a [u8]) -> Result<Self, DerFault> {
        let mut choice = Reader::new(content);
        let value = choice.any()?;
        choice.end()?;
        match value.tag {
            tag if tag == constructed(0) => {
                general_names(value.content, |_| Ok(()))?;
                Ok(Self::Full(value.content))
            }
            tag if tag == constructed(1) => {
                relative_name(value.content)?;
                Ok(Self::Relative(value.content))
            }
            _ => Err(DerFault::Unexpected),
        }
    }
}

/// Hands every one of `CRLDistributionPoints`, of which there is at least one, to `each`.
pub(crate) fn points<'a>(content: &'a [u8], mut each: impl FnMut(Point<'a>)) -> Result<(), DerFault> {
    let mut points = Reader::new(content);
    if points.is_empty() {
        return Err(DerFault::Empty);
    }
    while !points.is_empty() {
        each(Point::read(points.take(SEQUENCE)?)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_names_a_place_or_an_issuer() {
        let place = [0x30, 7, 0xa0, 5, 0xa0, 3, 0x86, 1, b'x'];
        let mut found = Vec::new();
        points(&place, |point| found.push(point)).expect("a point");
        assert_eq!(
            found,
            [Point { name: Some(PointName::Full(&[0x86, 1, b'x'])), reasons: None, foreign: false }]
        );
        assert_eq!(points(&[0x30, 0], |_| {}), Err(DerFault::Empty));
        assert_eq!(points(&[0x30, 4, 0x81, 2, 7, 0x80], |_| {}), Err(DerFault::Empty));
        assert_eq!(points(&[], |_| {}), Err(DerFault::Empty));
    }
}

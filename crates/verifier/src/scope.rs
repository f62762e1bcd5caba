//! For which certificates a revocation list speaks, and for which reasons (RFC 5280 §5.2.5, §6.3.3).

use crate::certificate::Certificate;
use crate::der::{DerFault, Reader, SEQUENCE, SET, constructed};
use crate::distribution::{PointName, points};

/// keyCompromise to aACompromise, the first bit on top.
const ALL_REASONS: u16 = 0x7f80;

/// The certificates of its issuer that a list speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    users: bool,
    authorities: bool,
    reasons: u16,
    /// Every name of its distribution point, as DER; none where it has no such point.
    names: Vec<Vec<u8>>,
}

/// The reasons for which somebody has spoken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reasons(u16);

impl Scope {
    pub(crate) const fn everything() -> Self {
        Self { users: true, authorities: true, reasons: ALL_REASONS, names: Vec::new() }
    }

    pub(crate) fn of_kind(self, users: bool, authorities: bool) -> Self {
        Self { users, authorities, ..self }
    }

    pub(crate) fn for_reasons(self, reasons: Option<u16>) -> Self {
        Self { reasons: reasons.map_or(ALL_REASONS, |some| some & ALL_REASONS), ..self }
    }

    pub(crate) fn at_point(self, name: PointName<'_>, issuer: &[u8]) -> Result<Self, DerFault> {
        Ok(Self { names: names(name, issuer)?, ..self })
    }

    /// The reasons for which a list of this scope speaks for a certificate of its issuer; none if it does not.
    pub(crate) fn covers(&self, certificate: &Certificate<'_>) -> Reasons {
        let of_kind = if certificate.is_ca() { self.authorities } else { self.users };
        if !of_kind {
            return Reasons(0);
        }
        if self.names.is_empty() {
            return Reasons(self.reasons);
        }
        let mut covered = 0;
        // A certificate without points is understood to have one, named as its issuer is.
        let Some(content) = certificate.extensions.crl_points else {
            let own = directory_name(certificate.issuer);
            return Reasons(if self.names.contains(&own) { self.reasons } else { 0 });
        };
        // It was read before, so nothing can be wrong with it.
        let _ = points(content, |point| {
            let Some(name) = point.name.filter(|_| !point.foreign) else { return };
            let place = names(name, certificate.issuer).unwrap_or_default();
            if place.iter().any(|name| self.names.contains(name)) {
                covered |= self.reasons & point.reasons.unwrap_or(ALL_REASONS);
            }
        });
        Reasons(covered)
    }
}

impl Reasons {
    pub(crate) const fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether every reason has been spoken for.
    pub(crate) const fn all(self) -> bool {
        self.0 == ALL_REASONS
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Each name of a point as DER.
fn names(name: PointName<'_>, issuer: &[u8]) -> Result<Vec<Vec<u8>>, DerFault> {
    match name {
        PointName::Relative(last) => Ok(vec![directory_name(&[issuer, &element(SET, last)].concat())]),
        PointName::Full(content) => {
            let mut names = Vec::new();
            let mut list = Reader::new(content);
            while !list.is_empty() {
                names.push(list.any()?.whole.to_vec());
            }
            Ok(names)
        }
    }
}

/// A `GeneralName` of the content of a `Name`.
fn directory_name(content: &[u8]) -> Vec<u8> {
    element(constructed(4), &element(SEQUENCE, content))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets = content.len().to_be_bytes();
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let octets = octets.get(zeros..).unwrap_or_default();
    let mut der = vec![tag];
    match (content.len(), octets) {
        (0..=0x7f, _) => der.push(octets.first().copied().unwrap_or_default()),
        // No slice is longer than 2^64 octets, so the count of octets fits in seven bits.
        (_, octets) => {
            der.push(0x80 | u8::try_from(octets.len()).unwrap_or_default());
            der.extend_from_slice(octets);
        }
    }
    der.extend_from_slice(content);
    der
}

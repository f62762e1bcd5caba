//! One certificate revocation list, read strictly (RFC 5280 §5).

use countersign_identity::Timestamp;

use crate::certificate::{Certificate, algorithm};
use crate::der::{self, DerFault, GENERALIZED_TIME, INTEGER, Reader, SEQUENCE, UTC_TIME};
use crate::der::{constructed, context, named_bits};
use crate::distribution::PointName;
use crate::extension::{Broken, Extension};
use crate::name::distinguished_name;
use crate::scope::Scope;
use crate::time::Time;

const NUMBER: &[u8] = &[0x55, 0x1d, 20];
const DELTA: &[u8] = &[0x55, 0x1d, 27];
const DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
const ENTRY_ISSUER: &[u8] = &[0x55, 0x1d, 29];

/// A serial number, sign-extended to the most octets a certificate may have.
pub(crate) type PaddedSerial = [u8; 20];

/// Why a revocation list is left out.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrlFault {
    /// The bytes are not a revocation list of version 2 in DER.
    #[error("it cannot be read: its {what}")]
    Malformed {
        /// What is wrong with the bytes.
        what: String,
    },
    /// RFC 5280 §5.2.3: without a number nobody can tell which list is newer.
    #[error("it has no number that is not critical")]
    NoNumber,
    /// RFC 5280 §5.1.2.5.
    #[error("it does not say when the next one comes")]
    NoNextUpdate,
    /// RFC 5280 §5.2, §5.3: it cannot be used by who does not understand it.
    #[error("it has a critical extension that is not understood here ({oid})")]
    UnknownCritical {
        /// Which, in dots.
        oid: String,
    },
    /// It speaks for certificates of other issuers.
    #[error("it is indirect, and speaks for issuers that did not sign it; only direct ones are read")]
    Indirect,
    /// It lists the differences to another one.
    #[error("it is a delta to another list; only complete ones are read")]
    Delta,
    /// It speaks for attribute certificates.
    #[error("it lists attribute certificates only")]
    AttributeCertificates,
    /// No issuer known here has its issuer's name.
    #[error("none of the issuers given has the name it is issued under")]
    UnknownIssuer,
    /// The issuer named did not sign it.
    #[error("its signature is not by the issuer it names")]
    Signature,
    /// RFC 5280 §6.3.3 (f).
    #[error("its issuer may not sign revocation lists: its keyUsage lacks cRLSign")]
    MayNotSign,
    /// It was made in the future.
    #[error("it is not valid before {this_update}: compare the clocks")]
    NotYetValid {
        /// When it begins.
        this_update: Timestamp,
    },
    /// A newer one for the same certificates was given.
    #[error("a newer one of the same issuer and scope was given as well")]
    Superseded,
}

/// A revocation list; whether it is signed by anybody is not asked yet.
#[derive(Clone, Debug)]
pub(crate) struct Crl<'a> {
    tbs: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// The content of the issuer's name.
    pub(crate) issuer: &'a [u8],
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) number: &'a [u8],
    pub(crate) scope: Scope,
    /// The content of `revokedCertificates`.
    entries: &'a [u8],
}

impl From<Broken> for CrlFault {
    fn from((part, fault): Broken) -> Self {
        Self::Malformed { what: format!("{part} {fault}") }
    }
}

impl<'a> Crl<'a> {
    /// Reads one list with nothing behind it, but for its entries.
    pub(crate) fn read(octets: &'a [u8]) -> Result<Self, CrlFault> {
        let outer = |fault| ("outermost sequence", fault);
        let mut file = Reader::new(octets);
        let mut list = file.inside(SEQUENCE).map_err(outer)?;
        file.end().map_err(outer)?;
        let tbs = list.value(SEQUENCE).map_err(outer)?;
        let sign = |fault| ("signature", fault);
        let outside = list.value(SEQUENCE).and_then(algorithm).map_err(sign)?;
        let signature = list.octets_in_bits().map_err(sign)?;
        list.end().map_err(outer)?;

        let mut fields = Reader::new(tbs.content);
        let head = Head::read(&mut fields)?;
        if head.algorithm != outside {
            return Err(("signature algorithm inside and outside", DerFault::Value).into());
        }
        let entries = fields.optional(SEQUENCE).map_err(|fault| ("list of entries", fault))?;
        let extensions = ListExtensions::read(&mut fields, head.issuer)?;
        fields.end().map_err(|fault| ("list of fields", fault))?;
        Ok(Self {
            tbs: tbs.whole,
            algorithm: outside,
            signature,
            issuer: head.issuer,
            this_update: head.this_update,
            next_update: head.next_update,
            number: extensions.number.ok_or(CrlFault::NoNumber)?,
            scope: extensions.scope,
            entries: entries.unwrap_or_default(),
        })
    }

    /// Whether this certificate's key signed it, and may (RFC 5280 §6.3.3 (f), (g)).
    pub(crate) fn is_signed_by(
        &self,
        issuer: &Certificate<'_>,
        known: &[&dyn rustls::pki_types::SignatureVerificationAlgorithm],
    ) -> Result<(), CrlFault> {
        if !issuer.key.signed(known, self.algorithm, self.tbs, self.signature) {
            return Err(CrlFault::Signature);
        }
        match issuer.extensions.key_usage {
            Some(usage) if !usage.value.crl_sign() => Err(CrlFault::MayNotSign),
            _ => Ok(()),
        }
    }

    /// The serial numbers it lists, sorted.
    pub(crate) fn serials(&self) -> Result<Box<[PaddedSerial]>, CrlFault> {
        let broken = |fault| CrlFault::from(("list of entries", fault));
        let mut entries = Reader::new(self.entries);
        let mut serials = Vec::new();
        while !entries.is_empty() {
            let mut entry = entries.inside(SEQUENCE).map_err(broken)?;
            let serial = entry.integer().map_err(broken)?;
            Time::read(&mut entry).map_err(broken)?;
            if let Some(extensions) = entry.optional(SEQUENCE).map_err(broken)? {
                Extension::each(extensions, entry_extension)?;
            }
            entry.end().map_err(broken)?;
            // No certificate with a longer one is ever accepted.
            serials.extend(padded(serial));
        }
        serials.sort_unstable();
        serials.dedup();
        Ok(serials.into_boxed_slice())
    }
}

/// A serial number in the form it is looked up by, unless it is longer than any certificate's may be.
pub(crate) fn padded(serial: &[u8]) -> Option<PaddedSerial> {
    let negative = serial.first().is_some_and(|first| first & 0x80 != 0);
    let mut octets = if negative { [0xff; 20] } else { [0; 20] };
    let start = octets.len().checked_sub(serial.len())?;
    octets.get_mut(start..)?.copy_from_slice(serial);
    Some(octets)
}

/// What stands before the entries.
struct Head<'a> {
    algorithm: &'a [u8],
    issuer: &'a [u8],
    this_update: Timestamp,
    next_update: Timestamp,
}

impl<'a> Head<'a> {
    fn read(fields: &mut Reader<'a>) -> Result<Self, CrlFault> {
        let part = |name: &'static str| move |fault| CrlFault::from((name, fault));
        // Version 2 is written as 1; only it has extensions.
        if fields.take(INTEGER).map_err(part("version"))? != [1] {
            return Err(("version", DerFault::Value).into());
        }
        let algorithm = fields.value(SEQUENCE).and_then(algorithm).map_err(part("signature"))?;
        let issuer = fields.take(SEQUENCE).map_err(part("issuer"))?;
        distinguished_name(issuer).map_err(part("issuer"))?;
        if issuer.is_empty() {
            return Err(("issuer", DerFault::Empty).into());
        }
        let this_update = Time::read(fields).map_err(part("time"))?.at;
        let mut ahead = *fields;
        let next_update = match ahead.any().map(|value| value.tag) {
            Ok(UTC_TIME | GENERALIZED_TIME) => Time::read(fields).map_err(part("time of the next one"))?.at,
            _ => return Err(CrlFault::NoNextUpdate),
        };
        if next_update < this_update {
            return Err(("time of the next one", DerFault::Value).into());
        }
        Ok(Self { algorithm, issuer, this_update, next_update })
    }
}

/// What the extensions of a list say (RFC 5280 §5.2).
struct ListExtensions<'a> {
    number: Option<&'a [u8]>,
    scope: Scope,
}

impl<'a> ListExtensions<'a> {
    fn read(fields: &mut Reader<'a>, issuer: &[u8]) -> Result<Self, CrlFault> {
        let broken = |fault| CrlFault::from(("list of extensions", fault));
        let mut found = Self { number: None, scope: Scope::everything() };
        let Some(explicit) = fields.optional(constructed(0)).map_err(broken)? else { return Ok(found) };
        let mut explicit = Reader::new(explicit);
        let list = explicit.take(SEQUENCE).map_err(broken)?;
        explicit.end().map_err(broken)?;
        Extension::each(list, |extension| found.remember(extension, issuer))?;
        Ok(found)
    }

    fn remember(&mut self, extension: Extension<'a>, issuer: &[u8]) -> Result<(), CrlFault> {
        match extension.oid {
            NUMBER if extension.critical => Err(CrlFault::NoNumber),
            NUMBER => {
                let number = number(extension.content).map_err(|fault| ("number", fault))?;
                self.number = Some(number);
                Ok(())
            }
            DELTA => Err(CrlFault::Delta),
            DISTRIBUTION_POINT => {
                self.scope = issuing_point(extension.content, issuer)?;
                Ok(())
            }
            oid if extension.critical => Err(CrlFault::UnknownCritical { oid: der::dotted(oid) }),
            _ => Ok(()),
        }
    }
}

/// A number from zero up.
fn number(content: &[u8]) -> Result<&[u8], DerFault> {
    let mut whole = Reader::new(content);
    let number = whole.integer()?;
    whole.end()?;
    match number {
        [0x80..=0xff, ..] => Err(DerFault::Value),
        number => Ok(number),
    }
}

fn entry_extension(extension: Extension<'_>) -> Result<(), CrlFault> {
    match extension.oid {
        ENTRY_ISSUER => Err(CrlFault::Indirect),
        oid if extension.critical => Err(CrlFault::UnknownCritical { oid: der::dotted(oid) }),
        _ => Ok(()),
    }
}

/// `IssuingDistributionPoint`: for which certificates and reasons the list speaks.
fn issuing_point(content: &[u8], issuer: &[u8]) -> Result<Scope, CrlFault> {
    let broken = |fault| CrlFault::from(("issuing distribution point", fault));
    let mut whole = Reader::new(content);
    let mut fields = whole.inside(SEQUENCE).map_err(broken)?;
    whole.end().map_err(broken)?;
    let name = fields.optional(constructed(0)).map_err(broken)?;
    let name = name.map(PointName::read).transpose().map_err(broken)?;
    let users = implicit_flag(&mut fields, 1).map_err(broken)?;
    let authorities = implicit_flag(&mut fields, 2).map_err(broken)?;
    let reasons = fields.optional(context(3)).map_err(broken)?;
    let reasons = reasons.map(named_bits).transpose().map_err(broken)?;
    let indirect = implicit_flag(&mut fields, 4).map_err(broken)?;
    let attributes = implicit_flag(&mut fields, 5).map_err(broken)?;
    fields.end().map_err(broken)?;
    if indirect {
        return Err(CrlFault::Indirect);
    }
    if attributes {
        return Err(CrlFault::AttributeCertificates);
    }
    if users && authorities {
        return Err(broken(DerFault::Value));
    }
    let scope = Scope::everything().of_kind(!authorities, !users).for_reasons(reasons);
    match name {
        Some(name) => scope.at_point(name, issuer).map_err(broken),
        None => Ok(scope),
    }
}

/// `[number] IMPLICIT BOOLEAN DEFAULT FALSE`.
fn implicit_flag(fields: &mut Reader<'_>, number: u8) -> Result<bool, DerFault> {
    match fields.optional(context(number))? {
        None => Ok(false),
        Some(content) if der::boolean(content)? => Ok(true),
        Some(_) => Err(DerFault::Default),
    }
}

//! The certificate profile of RFC 5280 §4: what every certificate keeps to, leaf or authority.
//!
//! Path validation (RFC 5280 §6) asks for none of this. It is asked for here because bundles and issuers of machines are
//! made by software, today: who breaks these rules has not made a certificate but something that resembles one.

use crate::certificate::Certificate;
use crate::extension::{AuthorityKey, Critical};
use crate::key::KeyRule;
use crate::name::{GeneralName, general_names};

/// The longest serial number, in octets (RFC 5280 §4.1.2.2).
const SERIAL_LIMIT: usize = 20;

/// The rules for every certificate.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProfileRule {
    /// RFC 5280 §4.1.2.2.
    #[error("its serial number is zero or negative, expected a positive number")]
    SerialNotPositive,
    /// RFC 5280 §4.1.2.2.
    #[error("its serial number has {found} octets, expected at most 20")]
    SerialTooLong {
        /// How many.
        found: usize,
    },
    /// RFC 5280 §4.1.2.4.
    #[error("its issuer has no name")]
    NoIssuer,
    /// RFC 5280 §4.1.2.5.
    #[error("it writes a year before 2050 in four digits")]
    LongYear,
    /// RFC 5280 §4.2.
    #[error("it has a critical extension that is not understood here ({oid})")]
    UnknownCritical {
        /// Which, in dots.
        oid: String,
    },
    /// RFC 5280 §4.2.1.11, §4.2.1.14.
    #[error("its {extension} extension is not critical, expected it to be")]
    NotCritical {
        /// Which.
        extension: &'static str,
    },
    /// RFC 5280 §4.2.1.1, §4.2.1.2, §4.2.1.8, §4.2.1.15, §4.2.2.
    #[error("its {extension} extension is critical, expected it not to be")]
    Critical {
        /// Which.
        extension: &'static str,
    },
    /// RFC 5280 §4.2.1.6.
    #[error("it has neither a subject nor a critical subjectAltName")]
    NoSubject,
    /// RFC 5280 §4.2.1.9.
    #[error("it limits the length of paths and is no authority")]
    PathLength,
    /// RFC 5280 §4.2.1.1.
    #[error("it lacks an authorityKeyIdentifier")]
    NoAuthorityKey,
    /// RFC 5280 §4.2.1.1.
    #[error("its authorityKeyIdentifier lacks the key identifier")]
    NoAuthorityKeyId,
    /// RFC 5280 §4.2.1.1 and A.2: both or neither.
    #[error("its authorityKeyIdentifier has only one of issuer and serial number")]
    HalfAuthorityKey,
    /// RFC 5280 §4.2.1.1: signed by its own key.
    #[error("it is its own issuer, and its authorityKeyIdentifier is of another certificate")]
    ForeignAuthorityKey,
    /// RFC 5280 §4.1.2.7.
    #[error("its key cannot be used: {0}")]
    Key(KeyRule),
}

/// Where in a path a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Leaf,
    Between,
    Root,
}

/// Judges a certificate by the rules for all.
pub(crate) fn judge(certificate: &Certificate<'_>, place: Place) -> Result<(), ProfileRule> {
    serial(certificate.serial)?;
    if certificate.issuer.is_empty() {
        return Err(ProfileRule::NoIssuer);
    }
    if certificate.long_years {
        return Err(ProfileRule::LongYear);
    }
    let extensions = &certificate.extensions;
    if let Some(kind) = extensions.wrongly_marked {
        let extension = kind.name;
        return Err(match kind.critical {
            Critical::Must => ProfileRule::NotCritical { extension },
            _ => ProfileRule::Critical { extension },
        });
    }
    if let Some(oid) = extensions.unknown_critical {
        return Err(ProfileRule::UnknownCritical { oid: crate::der::dotted(oid) });
    }
    let named_elsewhere = extensions.subject_names.is_some_and(|names| names.critical);
    if certificate.subject.is_empty() && !named_elsewhere {
        return Err(ProfileRule::NoSubject);
    }
    if extensions.basic_constraints.is_some_and(|found| found.value.path_length && !found.value.ca) {
        return Err(ProfileRule::PathLength);
    }
    authority_key(certificate, place)?;
    certificate.key.is_strong().map_err(ProfileRule::Key)
}

fn serial(octets: &[u8]) -> Result<(), ProfileRule> {
    match octets {
        [0] | [0x80..=0xff, ..] => Err(ProfileRule::SerialNotPositive),
        long if long.len() > SERIAL_LIMIT => Err(ProfileRule::SerialTooLong { found: long.len() }),
        _ => Ok(()),
    }
}

fn authority_key(certificate: &Certificate<'_>, place: Place) -> Result<(), ProfileRule> {
    let key = match certificate.extensions.authority_key {
        // It serves to find the way up (RFC 5280 §4.2.1.1), which ends here.
        None if place == Place::Root => return Ok(()),
        None => return Err(ProfileRule::NoAuthorityKey),
        Some(key) => key,
    };
    if key.issuer.is_some() != key.serial.is_some() {
        return Err(ProfileRule::HalfAuthorityKey);
    }
    if key.key_id.is_none() {
        return Err(ProfileRule::NoAuthorityKeyId);
    }
    let own_issuer = place == Place::Root && certificate.is_self_issued();
    if own_issuer && !identifies(&key, certificate) {
        return Err(ProfileRule::ForeignAuthorityKey);
    }
    Ok(())
}

/// Whether a key identifier is this certificate's, and so are issuer and serial number where it has them.
fn identifies(key: &AuthorityKey<'_>, certificate: &Certificate<'_>) -> bool {
    let mut named = key.issuer.is_none();
    if let Some(issuer) = key.issuer {
        // It was read before, so nothing can be wrong with it.
        let _ = general_names(issuer, |name| {
            named |= name == GeneralName::Directory(certificate.issuer);
            Ok(())
        });
    }
    named
        && key.key_id == certificate.extensions.subject_key
        && key.serial.is_none_or(|serial| serial == certificate.serial)
}

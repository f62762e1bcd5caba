//! The judge: reads to-be-signed bytes with a foreign parser and holds them against the certificate profile
//!
//! It shares nothing with the hand that wrote the bytes but the expectation, so that a fault in the writer, in its
//! inputs or in their order shows before anything is signed.

mod authority;
mod leaf;
mod rule;
#[cfg(test)]
mod tests;

use countersign_identity::{Serial, Timestamp, Validity};
use sha2::{Digest, Sha256};
use x509_parser::certificate::TbsCertificate;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

pub(crate) use self::authority::{AuthorityExpectation, AuthorityShape, judge_authority};
pub(crate) use self::leaf::{LeafExpectation, judge_leaf};
use self::rule::check;
pub use self::rule::{LintError, Rule};
use crate::der::{Reader, oid, tag, walk};
use crate::issuer::IssuerCertificate;
use crate::key::PublicKey;
use crate::signer::SigningAlgorithm;

/// The largest certificate that is issued, so that a chain of three fits the first flight of a handshake.
pub const MAX_CERTIFICATE: usize = 2_048;

/// What a signature adds to the bytes it signs, at most: P-384, with its algorithm and both lengths.
const SIGNATURE_OCTETS: usize = 128;

/// Values in a certificate nest 9 deep; twice that is never looked at.
const MAX_DEPTH: usize = 16;

/// What every certificate has to say, whoever it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expectation<'a> {
    pub(crate) serial: Serial,
    pub(crate) spki: &'a [u8],
    pub(crate) validity: Validity,
    pub(crate) issuer: Issuer<'a>,
}

/// Who is to sign.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Issuer<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) key_id: &'a [u8],
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) not_after: Timestamp,
}

impl<'a> From<&'a IssuerCertificate> for Issuer<'a> {
    fn from(issuer: &'a IssuerCertificate) -> Self {
        Issuer {
            name: issuer.subject(),
            key_id: issuer.subject_key_id(),
            algorithm: issuer.algorithm(),
            not_after: issuer.validity().not_after(),
        }
    }
}

/// Reads the bytes with both parsers and judges what all certificates have in common.
fn read<'a>(tbs: &'a [u8], expected: &Expectation<'_>) -> Result<TbsCertificate<'a>, LintError> {
    check(tbs.len() + SIGNATURE_OCTETS <= MAX_CERTIFICATE, Rule::Size, || format!("{} octets", tbs.len()))?;
    walk(tbs, MAX_DEPTH).map_err(|error| LintError::new(Rule::Encoding, error.to_string()))?;
    let parsed = match TbsCertificate::from_der(tbs) {
        Ok(([], parsed)) => parsed,
        Ok((rest, _)) => {
            return Err(LintError::new(Rule::Encoding, format!("{} octets behind it", rest.len())));
        }
        Err(error) => return Err(LintError::new(Rule::Encoding, error.to_string())),
    };
    check(parsed.version() == X509Version::V3, Rule::Version, || parsed.version().to_string())?;
    serial(&parsed, expected)?;
    let issuer = &expected.issuer;
    let inner = &parsed.signature;
    check(
        inner.algorithm.as_bytes() == issuer.algorithm.oid() && inner.parameters.is_none(),
        Rule::SignatureAlgorithm,
        || inner.algorithm.to_id_string(),
    )?;
    check(parsed.issuer.as_raw() == issuer.name, Rule::Issuer, || parsed.issuer.to_string())?;
    validity(tbs, &parsed, expected)?;
    public_key(&parsed, expected)?;
    check(parsed.issuer_uid.is_none() && parsed.subject_uid.is_none(), Rule::UniqueId, || "one".to_owned())?;
    subject_key_id(&parsed)?;
    authority_key_id(&parsed, issuer)?;
    Ok(parsed)
}

/// RFC 5280 §4.1.2.2, and all 18 octets of ours.
fn serial(parsed: &TbsCertificate<'_>, expected: &Expectation<'_>) -> Result<(), LintError> {
    let found = parsed.raw_serial();
    let positive = found.first().is_some_and(|first| (0x01..=0x7f).contains(first));
    check(positive && found.len() == 18 && found == expected.serial.as_bytes(), Rule::Serial, || {
        parsed.raw_serial_as_string()
    })
}

/// RFC 5280 §4.1.2.5: the form of both times, what they say, and that the issuer outlives them (Invariant 4).
fn validity(tbs: &[u8], parsed: &TbsCertificate<'_>, expected: &Expectation<'_>) -> Result<(), LintError> {
    let forms = time_forms(tbs).is_some_and(|forms| forms.into_iter().all(|form| form));
    let found = parsed.validity();
    check(forms, Rule::ValidityForm, || format!("{} to {}", found.not_before, found.not_after))?;
    let same = |found: &ASN1Time, expected: Timestamp| found.timestamp() == expected.unix();
    check(
        same(&found.not_before, expected.validity.not_before())
            && same(&found.not_after, expected.validity.not_after()),
        Rule::Validity,
        || format!("{} to {}", found.not_before, found.not_after),
    )?;
    check(found.not_after.timestamp() <= expected.issuer.not_after.unix(), Rule::OutlivesIssuer, || {
        format!("{} after an issuer that ends at {}", found.not_after, expected.issuer.not_after)
    })
}

/// Whether each of the two times has its one form. The foreign parser is more generous than RFC 5280, so our own
/// reader looks.
fn time_forms(tbs: &[u8]) -> Option<[bool; 2]> {
    let mut fields = Reader::new(tbs).sequence().ok()?;
    // version, serial, algorithm, issuer
    for _ in 0..4 {
        fields.next().ok()?;
    }
    let mut times = fields.sequence().ok()?;
    let forms = [time_form(&mut times)?, time_form(&mut times)?];
    times.finish().ok()?;
    Some(forms)
}

fn time_form(times: &mut Reader<'_>) -> Option<bool> {
    let time = times.next().ok()?;
    let (digits, zone) = time.content.split_at_checked(time.content.len().checked_sub(1)?)?;
    let written = zone == b"Z" && digits.iter().all(u8::is_ascii_digit);
    Some(match time.tag {
        tag::UTC_TIME => written && digits.len() == 12,
        // From 2050 on only: before that, UTCTime is the one form.
        tag::GENERALIZED_TIME => written && digits.len() == 14 && digits.get(..4)? >= b"2050".as_slice(),
        _ => false,
    })
}

fn public_key(parsed: &TbsCertificate<'_>, expected: &Expectation<'_>) -> Result<(), LintError> {
    let found = &parsed.subject_pki;
    check(found.raw == expected.spki, Rule::PublicKey, || "another key than the one approved".to_owned())?;
    match PublicKey::read(found.raw) {
        Ok(_) => Ok(()),
        Err(error) => Err(LintError::new(Rule::PublicKey, error.to_string())),
    }
}

/// RFC 7093 §2 method 1, reckoned here from the bits that the foreign parser found.
fn subject_key_id(parsed: &TbsCertificate<'_>) -> Result<(), LintError> {
    let extension = extension(parsed, oid::SUBJECT_KEY_ID, Rule::SubjectKeyId)?;
    let ParsedExtension::SubjectKeyIdentifier(found) = extension.parsed_extension() else {
        return Err(LintError::new(Rule::SubjectKeyId, "an unreadable one"));
    };
    let digest = Sha256::digest(&parsed.subject_pki.subject_public_key.data);
    let same = digest.get(..20) == Some(found.0);
    check(!extension.critical && same, Rule::SubjectKeyId, || format!("{found:x}"))
}

/// RFC 5280 §4.2.1.1: the key identifier alone.
fn authority_key_id(parsed: &TbsCertificate<'_>, issuer: &Issuer<'_>) -> Result<(), LintError> {
    let extension = extension(parsed, oid::AUTHORITY_KEY_ID, Rule::AuthorityKeyId)?;
    let ParsedExtension::AuthorityKeyIdentifier(found) = extension.parsed_extension() else {
        return Err(LintError::new(Rule::AuthorityKeyId, "an unreadable one"));
    };
    let id = found.key_identifier.as_ref().map(|id| id.0);
    let alone = found.authority_cert_issuer.is_none() && found.authority_cert_serial.is_none();
    check(!extension.critical && alone && id == Some(issuer.key_id), Rule::AuthorityKeyId, || {
        format!("critical: {}, key id {id:02x?}", extension.critical)
    })
}

/// The extension of this kind, which must be there exactly once.
fn extension<'a, 'b>(
    parsed: &'a TbsCertificate<'b>,
    kind: &[u8],
    rule: Rule,
) -> Result<&'a X509Extension<'b>, LintError> {
    let mut found = parsed.extensions().iter().filter(|extension| extension.oid.as_bytes() == kind);
    match (found.next(), found.next()) {
        (Some(extension), None) => Ok(extension),
        (None, _) => Err(LintError::new(rule, "none")),
        (Some(_), Some(_)) => Err(LintError::new(rule, "more than one")),
    }
}

/// No extension but these, and none twice.
fn only_extensions(parsed: &TbsCertificate<'_>, allowed: &[&[u8]]) -> Result<(), LintError> {
    let mut seen: Vec<&[u8]> = Vec::with_capacity(allowed.len());
    for extension in parsed.extensions() {
        let kind = extension.oid.as_bytes();
        check(allowed.contains(&kind), Rule::ForeignExtension, || oid::dotted(kind))?;
        check(!seen.contains(&kind), Rule::ForeignExtension, || format!("{} twice", oid::dotted(kind)))?;
        seen.push(kind);
    }
    Ok(())
}

/// keyUsage: critical, exactly these bits, encoded minimally.
fn key_usage(parsed: &TbsCertificate<'_>, flags: u16, bits: &[u8]) -> Result<(), LintError> {
    let extension = extension(parsed, oid::KEY_USAGE, Rule::KeyUsage)?;
    let ParsedExtension::KeyUsage(found) = extension.parsed_extension() else {
        return Err(LintError::new(Rule::KeyUsage, "an unreadable one"));
    };
    check(extension.critical && found.flags == flags && extension.value == bits, Rule::KeyUsage, || {
        format!("critical: {}, {found}", extension.critical)
    })
}

/// basicConstraints that say CA:FALSE explicitly: critical, nothing inside.
fn no_authority(parsed: &TbsCertificate<'_>) -> Result<(), LintError> {
    let extension = extension(parsed, oid::BASIC_CONSTRAINTS, Rule::BasicConstraints)?;
    let ParsedExtension::BasicConstraints(found) = extension.parsed_extension() else {
        return Err(LintError::new(Rule::BasicConstraints, "unreadable ones"));
    };
    let silent = !found.ca && found.path_len_constraint.is_none() && extension.value == [tag::SEQUENCE, 0];
    check(extension.critical && silent, Rule::BasicConstraints, || {
        format!("critical: {}, CA: {}", extension.critical, found.ca)
    })
}

/// subjectAltName: not critical, readable; what it holds is the caller's to judge.
fn alternative_names<'a>(
    parsed: &'a TbsCertificate<'_>,
) -> Result<&'a [x509_parser::extensions::GeneralName<'a>], LintError> {
    let extension = extension(parsed, oid::SUBJECT_ALT_NAME, Rule::SubjectAltName)?;
    check(!extension.critical, Rule::SubjectAltName, || "a critical one beside a subject".to_owned())?;
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Ok(&names.general_names),
        _ => Err(LintError::new(Rule::SubjectAltName, "an unreadable one")),
    }
}

//! The judge of the CA's own certificates: roots, issuers, trust signers

use countersign_identity::TrustDomain;
use x509_parser::certificate::TbsCertificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::rule::check;
use super::{
    Expectation, LintError, Rule, alternative_names, extension, key_usage, no_authority, only_extensions,
    read,
};
use crate::der::{Writer, oid, tag};

/// What a certificate of the CA's own has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuthorityExpectation<'a> {
    pub(crate) common: Expectation<'a>,
    pub(crate) trust_domain: &'a TrustDomain,
    /// Name, DER.
    pub(crate) subject: &'a [u8],
    pub(crate) shape: AuthorityShape,
}

/// What it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthorityShape {
    Root,
    Issuer,
    TrustSigner { epoch: u64 },
}

/// Holds `tbs` against every rule for the CA's own certificates (STANDARDS §1.2, §2; DESIGN §4).
pub(crate) fn judge_authority(tbs: &[u8], expected: &AuthorityExpectation<'_>) -> Result<(), LintError> {
    let parsed = read(tbs, &expected.common)?;
    // RFC 5280 §4.1.2.6: a CA's subject is not empty. Distinct from the issuer's unless it is its own issuer.
    let own_issuer = parsed.subject.as_raw() == parsed.issuer.as_raw();
    check(
        parsed.subject.as_raw() == expected.subject
            && parsed.subject.iter_attributes().next().is_some()
            && own_issuer == (expected.shape == AuthorityShape::Root),
        Rule::Subject,
        || parsed.subject.to_string(),
    )?;
    match expected.shape {
        AuthorityShape::Root => authority(&parsed, expected, None),
        AuthorityShape::Issuer => authority(&parsed, expected, Some(0)),
        AuthorityShape::TrustSigner { epoch } => trust_signer(&parsed, expected, epoch),
    }
}

fn authority(
    parsed: &TbsCertificate<'_>,
    expected: &AuthorityExpectation<'_>,
    path_length: Option<u32>,
) -> Result<(), LintError> {
    uri(parsed, &expected.trust_domain.id())?;
    key_usage(parsed, 0b110_0000, &[tag::BIT_STRING, 2, 1, 0x06])?;
    let constraints = extension(parsed, oid::BASIC_CONSTRAINTS, Rule::BasicConstraints)?;
    let ParsedExtension::BasicConstraints(found) = constraints.parsed_extension() else {
        return Err(LintError::new(Rule::BasicConstraints, "unreadable ones"));
    };
    check(
        constraints.critical && found.ca && found.path_len_constraint == path_length,
        Rule::BasicConstraints,
        || format!("critical: {}, {found:?}", constraints.critical),
    )?;
    // No extended key usage: verifiers disagree whether it binds what is issued below (STANDARDS §1.2). No name
    // constraints: rustls refuses every leaf below a CA with URI constraints.
    only_extensions(
        parsed,
        &[
            oid::KEY_USAGE,
            oid::BASIC_CONSTRAINTS,
            oid::SUBJECT_KEY_ID,
            oid::AUTHORITY_KEY_ID,
            oid::SUBJECT_ALT_NAME,
        ],
    )
}

/// Invariant 11: neither clientAuth nor serverAuth, so it authenticates nobody; the private purpose is critical, so that
/// nobody else takes it for something it is not.
fn trust_signer(
    parsed: &TbsCertificate<'_>,
    expected: &AuthorityExpectation<'_>,
    epoch: u64,
) -> Result<(), LintError> {
    uri(parsed, &format!("{}/countersign/trust", expected.trust_domain.id()))?;
    key_usage(parsed, 0b1, &[tag::BIT_STRING, 2, 7, 0x80])?;
    no_authority(parsed)?;
    let purposes = extension(parsed, oid::EXTENDED_KEY_USAGE, Rule::ExtendedKeyUsage)?;
    let mut only = Writer::default();
    only.sequence(|w| w.oid(oid::TRUST_SIGNING));
    check(purposes.critical && purposes.value == only.into_bytes(), Rule::ExtendedKeyUsage, || {
        format!("critical: {}, {:02x?}", purposes.critical, purposes.value)
    })?;
    let found = extension(parsed, oid::TRUST_EPOCH, Rule::TrustEpoch)?;
    let mut number = Writer::default();
    number.unsigned(&epoch.to_be_bytes());
    check(!found.critical && found.value == number.into_bytes(), Rule::TrustEpoch, || {
        format!("critical: {}, {:02x?}", found.critical, found.value)
    })?;
    only_extensions(
        parsed,
        &[
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            oid::BASIC_CONSTRAINTS,
            oid::SUBJECT_KEY_ID,
            oid::AUTHORITY_KEY_ID,
            oid::SUBJECT_ALT_NAME,
            oid::TRUST_EPOCH,
        ],
    )
}

/// One URI and no other name.
fn uri(parsed: &TbsCertificate<'_>, expected: &str) -> Result<(), LintError> {
    match alternative_names(parsed)? {
        [GeneralName::URI(found)] => check(*found == expected, Rule::SpiffeId, || format!("{found:?}")),
        other => Err(LintError::new(Rule::SubjectAltName, format!("{other:?}"))),
    }
}

//! The judge of certificates that authenticate: workloads and the CA's own server

use std::net::IpAddr;
use std::time::Duration;

use countersign_identity::{Lineage, SpiffeId, Timestamp};
use x509_parser::certificate::TbsCertificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::rule::check;
use super::{
    Expectation, LintError, Rule, alternative_names, extension, key_usage, no_authority, only_extensions,
    read,
};
use crate::approval::BACKDATE;
use crate::der::{oid, tag};
use crate::dns_name::DnsName;

/// What a leaf has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeafExpectation<'a> {
    pub(crate) common: Expectation<'a>,
    pub(crate) id: &'a SpiffeId,
    /// Whether the identity may be one of the CA's own.
    pub(crate) own: bool,
    pub(crate) lineage: Lineage,
    pub(crate) dns: &'a [DnsName],
    pub(crate) ip: &'a [IpAddr],
    /// When it was approved, and for how long the profile lets it live from then on.
    pub(crate) time: Timestamp,
    pub(crate) lifetime: Duration,
}

/// Holds `tbs` against every rule for leaves (STANDARDS §1.2, §1.10, §2).
pub(crate) fn judge_leaf(tbs: &[u8], expected: &LeafExpectation<'_>) -> Result<(), LintError> {
    let parsed = read(tbs, &expected.common)?;
    lifetime(&parsed, expected)?;
    subject(&parsed, expected)?;
    names(&parsed, expected)?;
    key_usage(&parsed, 0b1, &[tag::BIT_STRING, 2, 7, 0x80])?;
    extended_key_usage(&parsed)?;
    no_authority(&parsed)?;
    only_extensions(
        &parsed,
        &[
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            oid::BASIC_CONSTRAINTS,
            oid::SUBJECT_KEY_ID,
            oid::AUTHORITY_KEY_ID,
            oid::SUBJECT_ALT_NAME,
        ],
    )
}

/// Invariant 4: the profile's limit, counting the last second, and no more backdating than is meant.
fn lifetime(parsed: &TbsCertificate<'_>, expected: &LeafExpectation<'_>) -> Result<(), LintError> {
    let validity = parsed.validity();
    let not_before = Timestamp::from_unix(validity.not_before.timestamp());
    let not_after = Timestamp::from_unix(validity.not_after.timestamp());
    let begins = not_before <= expected.time && expected.time.since(not_before) <= BACKDATE;
    let ends = not_after >= expected.time
        && not_after.since(expected.time) + Duration::from_secs(1) <= expected.lifetime;
    check(begins && ends, Rule::Lifetime, || {
        format!("{not_before} to {not_after}, approved at {}", expected.time)
    })
}

/// Exactly one attribute, the lineage as X.520 serialNumber.
fn subject(parsed: &TbsCertificate<'_>, expected: &LeafExpectation<'_>) -> Result<(), LintError> {
    let mut attributes = parsed.subject.iter_attributes();
    let lineage = expected.lineage.to_string();
    let holds = match (attributes.next(), attributes.next()) {
        (Some(attribute), None) => {
            let value = attribute.attr_value();
            attribute.attr_type().as_bytes() == oid::SERIAL_NUMBER
                && value.tag().0 == u32::from(tag::PRINTABLE_STRING)
                && value.data == lineage.as_bytes()
        }
        _ => false,
    };
    check(holds, Rule::Subject, || parsed.subject.to_string())
}

fn names(parsed: &TbsCertificate<'_>, expected: &LeafExpectation<'_>) -> Result<(), LintError> {
    let mut uris = Vec::new();
    let mut dns = Vec::new();
    let mut ip = Vec::new();
    for name in alternative_names(parsed)? {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(name) => dns.push(*name),
            GeneralName::IPAddress(octets) => ip.push(*octets),
            other => return Err(LintError::new(Rule::SubjectAltName, other.to_string())),
        }
    }
    let [uri] = uris.as_slice() else {
        return Err(LintError::new(Rule::SubjectAltName, format!("{} URIs", uris.len())));
    };
    spiffe_id(uri, expected)?;
    let well_formed = dns.iter().all(|name| name.parse::<DnsName>().is_ok());
    let same_dns = dns.iter().copied().eq(expected.dns.iter().map(DnsName::as_str));
    check(well_formed && same_dns, Rule::SubjectAltName, || format!("the DNS names {dns:?}"))?;
    let same_ip = ip.len() == expected.ip.len()
        && ip.iter().zip(expected.ip).all(|(octets, address)| match address {
            IpAddr::V4(v4) => *octets == v4.octets(),
            IpAddr::V6(v6) => *octets == v6.octets(),
        });
    check(same_ip, Rule::SubjectAltName, || format!("the addresses {ip:?}"))
}

/// X509-SVID §2, §5.2: a SPIFFE ID with a path; ours besides: the CA's own names on the CA's own certificate only.
fn spiffe_id(uri: &str, expected: &LeafExpectation<'_>) -> Result<(), LintError> {
    let id: SpiffeId = uri.parse().map_err(|_| LintError::new(Rule::SpiffeId, format!("{uri:?}")))?;
    check(id == *expected.id && id.has_path() && id.is_reserved() == expected.own, Rule::SpiffeId, || {
        id.to_string()
    })
}

/// Both directions of TLS, and nothing else (X509-SVID §4.4).
fn extended_key_usage(parsed: &TbsCertificate<'_>) -> Result<(), LintError> {
    let extension = extension(parsed, oid::EXTENDED_KEY_USAGE, Rule::ExtendedKeyUsage)?;
    let ParsedExtension::ExtendedKeyUsage(found) = extension.parsed_extension() else {
        return Err(LintError::new(Rule::ExtendedKeyUsage, "an unreadable one"));
    };
    let both = found.server_auth && found.client_auth;
    let others = found.any
        || found.code_signing
        || found.email_protection
        || found.time_stamping
        || found.ocsp_signing
        || !found.other.is_empty();
    check(both && !others, Rule::ExtendedKeyUsage, || format!("{found:?}"))
}

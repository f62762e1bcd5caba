//! Signing certificates: what makes a root or an intermediate one.

use countersign_identity::TrustDomain;

use crate::certificate::Certificate;
use crate::profile::{self, Place};
use crate::refusal::AuthorityRule;

/// By whose rules a path is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rules<'a> {
    /// As SPIFFE X509-SVID and the profile of RFC 5280 §4 have it, for this trust domain.
    Svid(&'a TrustDomain),
    /// As path validation alone has it (RFC 5280 §6).
    PathOnly,
}

/// Judges a signing certificate; rustls-webpki never looks at its keyUsage and at nothing of a root.
pub(crate) fn judge(
    certificate: &Certificate<'_>,
    place: Place,
    rules: Rules<'_>,
) -> Result<(), AuthorityRule> {
    may_sign(certificate, place, rules)?;
    match rules {
        Rules::PathOnly => Ok(()),
        Rules::Svid(domain) => {
            own_id(certificate, domain)?;
            profile::judge(certificate, place).map_err(AuthorityRule::Profile)?;
            conforms(certificate)
        }
    }
}

/// SPIFFE X509-SVID §4.1, §4.3; RFC 5280 §4.2.1.3, §6.1.4 (k) and (n).
///
/// A root without keyUsage is limited in nothing, and the bundle vouches for it; who was signed by another must show it.
fn may_sign(certificate: &Certificate<'_>, place: Place, rules: Rules<'_>) -> Result<(), AuthorityRule> {
    if !certificate.is_ca() {
        return Err(AuthorityRule::NotCa);
    }
    match certificate.extensions.key_usage {
        Some(found) if found.value.key_cert_sign() => Ok(()),
        None if place == Place::Root || matches!(rules, Rules::PathOnly) => Ok(()),
        _ => Err(AuthorityRule::NoKeyCertSign),
    }
}

/// SPIFFE X509-SVID §3.2: an authority's own ID, if it has one, is its trust domain's.
fn own_id(certificate: &Certificate<'_>, domain: &TrustDomain) -> Result<(), AuthorityRule> {
    let Some(names) = certificate.extensions.subject_names else { return Ok(()) };
    if names.value.first_uri.is_none() {
        return Ok(());
    }
    let expected = domain.id();
    match names.value.other_uri(&expected) {
        None => Ok(()),
        Some(found) => Err(AuthorityRule::OwnId { found: found.to_owned(), expected }),
    }
}

/// RFC 5280 §4.1.2.6, §4.2.1.2, §4.2.1.9.
fn conforms(certificate: &Certificate<'_>) -> Result<(), AuthorityRule> {
    let extensions = &certificate.extensions;
    let broken = [
        (certificate.subject.is_empty(), AuthorityRule::NoName),
        (extensions.subject_key.is_none(), AuthorityRule::NoSubjectKey),
        (!extensions.basic_constraints.is_some_and(|found| found.critical), AuthorityRule::NotCritical),
    ];
    match broken.into_iter().find(|(broken, _)| *broken) {
        Some((_, rule)) => Err(rule),
        None => Ok(()),
    }
}

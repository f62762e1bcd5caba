//! Signing certificates: what makes a root or an intermediate one.

use countersign_identity::{TrustDomain, Validity};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use crate::leaf::{parse, uri_names, validity};
use crate::refusal::AuthorityRule;

/// Judges a signing certificate of `domain` (SPIFFE X509-SVID §4.1, §4.3; RFC 5280 §4.2.1.3) and returns its times.
///
/// rustls-webpki never looks at keyUsage and nothing but SPIFFE cares for the authority's own ID, so both are read here.
pub(crate) fn judge(der: &CertificateDer<'_>, domain: &TrustDomain) -> Result<Validity, AuthorityRule> {
    let parsed = parse(der).map_err(AuthorityRule::Malformed)?;
    may_sign(&parsed)?;
    let uris = uri_names(&parsed).map_err(AuthorityRule::Malformed)?;
    let expected = domain.id();
    if let Some(found) = uris.iter().find(|uri| **uri != expected) {
        return Err(AuthorityRule::OwnId { found: (*found).to_owned(), expected });
    }
    validity(&parsed).map_err(AuthorityRule::Malformed)
}

fn may_sign(parsed: &X509Certificate<'_>) -> Result<(), AuthorityRule> {
    let broken = |what: &str| AuthorityRule::Malformed(format!("its {what} extension is broken"));
    let constraints = parsed.basic_constraints().map_err(|_| broken("basicConstraints"))?;
    if !constraints.is_some_and(|found| found.value.ca) {
        return Err(AuthorityRule::NotCa);
    }
    let usage = parsed.key_usage().map_err(|_| broken("keyUsage"))?;
    match usage {
        Some(found) if found.value.key_cert_sign() => Ok(()),
        _ => Err(AuthorityRule::NoKeyCertSign),
    }
}

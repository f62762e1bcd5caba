//! Issuance policy: whether a proven key gets a certificate, and which

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{KeyHash, SpiffeId, Timestamp, TrustDomain, Validity};

use crate::denial::Denial;
use crate::dns_name::DnsName;
use crate::issuer::IssuerCertificate;
use crate::key::KeyKind;
use crate::profile::{LIFETIMES, Profile};
use crate::proven_key::ProvenKey;
use crate::registration::{Registration, RegistrationError, ReservedNames};

/// How far a certificate is backdated, for machines whose clock is a little behind.
pub const BACKDATE: Duration = Duration::from_secs(60);

/// What stands in an intent instead of a profile's name when the CA certifies itself.
pub const OWN_PROFILE: &str = "countersign/ca";

/// A certificate with less time left than this is not worth its signature; an issuer that cannot give so much is over.
const SHORTEST: Duration = Duration::from_secs(60);

/// The house a request walks through: whose names it gives, who issues, what is the CA's own.
#[derive(Debug, Clone, Copy)]
pub struct House<'a> {
    /// Our trust domain.
    pub trust_domain: &'a TrustDomain,
    /// Who issues.
    pub issuer: &'a IssuerCertificate,
    /// The keys of the CA itself: root, issuers, trust signer and all others.
    pub ca_keys: &'a [KeyHash],
    /// The CA's own DNS names and addresses.
    pub reserved: &'a ReservedNames,
}

/// A key that shall be certified: for whom, with which names, for how long.
///
/// Only [`approve`] and [`approve_own`] make one.
#[derive(Debug)]
pub struct Approved {
    pub(crate) key: ProvenKey,
    pub(crate) id: SpiffeId,
    pub(crate) dns: Vec<DnsName>,
    pub(crate) ip: Vec<IpAddr>,
    pub(crate) profile: Arc<str>,
    pub(crate) lifetime: Duration,
    pub(crate) validity: Validity,
    pub(crate) time: Timestamp,
    pub(crate) for_whom: ForWhom,
}

/// Whether a machine is certified or the CA's own server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForWhom {
    Machine,
    House,
}

impl Approved {
    /// When the certificate will be valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The identity it will speak for.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.id
    }
}

/// Approves a certificate for a registered identity, on the registration and profile as they stand now.
///
/// # Errors
/// The first reason against it.
pub fn approve(
    key: ProvenKey,
    registration: &Registration,
    profile: &Profile,
    house: &House<'_>,
    now: Timestamp,
) -> Result<Approved, Denial> {
    // The book has checked it when it was written. It is checked here too: what may be certified is decided in this
    // room, and the CA's own names may have changed since.
    registration.validate(house.trust_domain, house.reserved).map_err(|error| match error {
        RegistrationError::TrustDomain { found, expected } => Denial::TrustDomain { found, expected },
        RegistrationError::Reserved { found } => Denial::Reserved { found },
        other => Denial::Registration(other),
    })?;
    if registration.profile != profile.name() {
        return Err(Denial::Profile {
            found: profile.name().to_owned(),
            expected: registration.profile.clone(),
        });
    }
    if let Some(until) = registration.until
        && until <= now
    {
        return Err(Denial::RegistrationEnded { until });
    }
    check_key(&key, profile.key_kinds(), house)?;
    check_requested(&key, &registration.id, &registration.dns, &registration.ip)?;
    let validity = validity(profile.lifetime(), registration.until, house, now)?;
    Ok(Approved {
        key,
        id: registration.id.clone(),
        dns: registration.dns.clone(),
        ip: registration.ip.clone(),
        profile: profile.name().into(),
        lifetime: profile.lifetime(),
        validity,
        time: now,
        for_whom: ForWhom::Machine,
    })
}

/// Approves the CA's own server certificate: `spiffe://TD/countersign/ca` with the CA's own names, on a P-256 key.
///
/// # Errors
/// The first reason against it.
pub fn approve_own(
    key: ProvenKey,
    names: &ReservedNames,
    lifetime: Duration,
    house: &House<'_>,
    now: Timestamp,
) -> Result<Approved, Denial> {
    if !LIFETIMES.contains(&lifetime) {
        return Err(Denial::Lifetime { found: lifetime });
    }
    let id = house.trust_domain.with_path("/countersign/ca").map_err(|error| Denial::OwnName { error })?;
    check_key(&key, &[KeyKind::P256], house)?;
    check_requested(&key, &id, &names.dns, &names.ip)?;
    let validity = validity(lifetime, None, house, now)?;
    Ok(Approved {
        key,
        id,
        dns: names.dns.clone(),
        ip: names.ip.clone(),
        profile: OWN_PROFILE.into(),
        lifetime,
        validity,
        time: now,
        for_whom: ForWhom::House,
    })
}

/// The key's kind, and that it is no key of the CA (Invariant 5; that no unexpired certificate has it, the book says).
fn check_key(key: &ProvenKey, allowed: &[KeyKind], house: &House<'_>) -> Result<(), Denial> {
    if !allowed.contains(&key.kind()) {
        return Err(Denial::KeyKind { found: key.kind(), allowed: allowed.to_vec() });
    }
    if key.key_hash() == house.issuer.key_hash() || house.ca_keys.contains(&key.key_hash()) {
        return Err(Denial::CaKey);
    }
    Ok(())
}

/// A caller that asks for something gets exactly that or nothing: it may ask for less than it will get.
fn check_requested(key: &ProvenKey, id: &SpiffeId, dns: &[DnsName], ip: &[IpAddr]) -> Result<(), Denial> {
    let requested = key.requested();
    let refuse = |found: String| Err(Denial::CsrNames { found, id: id.clone() });
    if let Some(foreign) = requested.foreign.first() {
        return refuse(foreign.clone());
    }
    if let Some(uri) = requested.uris.iter().find(|uri| uri.as_str() != id.as_str()) {
        return refuse(format!("the URI {uri:?}"));
    }
    // DNS names compare without regard to case (RFC 4343); ours are lower-case.
    let has_dns = |name: &str| dns.iter().any(|own| own.as_str().eq_ignore_ascii_case(name));
    if let Some(name) = requested.dns.iter().find(|name| !has_dns(name)) {
        return refuse(format!("the DNS name {name:?}"));
    }
    if let Some(address) = requested.ip.iter().find(|address| !ip.contains(address)) {
        return refuse(format!("the address {address}"));
    }
    Ok(())
}

/// From a minute ago until the first of: the profile's lifetime from now, the registration's end, the issuer's end
/// (Invariant 4).
fn validity(
    lifetime: Duration,
    until: Option<Timestamp>,
    house: &House<'_>,
    now: Timestamp,
) -> Result<Validity, Denial> {
    let issuer = house.issuer.validity();
    if now < issuer.not_before() {
        return Err(Denial::IssuerNotYetValid { not_before: issuer.not_before() });
    }
    let second = Duration::from_secs(1);
    if issuer.not_after() < now + SHORTEST.min(lifetime) - second {
        return Err(Denial::IssuerTooShort { not_after: issuer.not_after() });
    }
    let not_before = (now - BACKDATE).max(issuer.not_before());
    // Both ends count (RFC 5280 §4.1.2.5), so the last second is one before the life is over.
    let mut not_after = (now + lifetime - second).min(issuer.not_after());
    if let Some(until) = until {
        not_after = not_after.min(until - second);
    }
    Validity::new(not_before, not_after).map_err(|_| Denial::IssuerTooShort { not_after: issuer.not_after() })
}

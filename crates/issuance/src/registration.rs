//! The standing right of an identity to have certificates

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use countersign_identity::{SpiffeId, Timestamp, TrustDomain};
use thiserror::Error;

use crate::dns_name::DnsName;
use crate::token_key::{self, TokenKey, TokenKeyError};

/// All names of one identity together may take so many octets, so that any certificate for it stays below
/// [`MAX_CERTIFICATE`](crate::MAX_CERTIFICATE) whatever issuer signs it.
pub const MAX_NAMES: usize = 1_024;

/// The standing right: this SPIFFE ID, in this shape, with these names, until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whom it is about.
    pub id: SpiffeId,
    /// The name of the profile.
    pub profile: String,
    /// DNS names that stand in its certificates.
    pub dns: Vec<DnsName>,
    /// Addresses that stand in its certificates.
    pub ip: Vec<IpAddr>,
    /// The moment it ends by itself: no certificate is valid at it or after.
    pub until: Option<Timestamp>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// How many machines may hold it at once.
    pub machines: Machines,
    /// Whether its access tokens are worth something only to who has its key.
    pub tokens: Tokens,
    /// Keys that it may prove itself with to the authorization server, beside those of its certificates.
    pub token_keys: Vec<TokenKey>,
    /// Whether its DNS names and addresses may be those of other shared registrations.
    pub shared: bool,
    /// The machine that may ask for it on a workload's behalf.
    pub parent: Option<SpiffeId>,
    /// What the parent must have seen of the workload.
    pub selectors: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// How many machines may hold a registration at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Machines {
    /// One: a new enrollment replaces the machine before.
    #[default]
    One,
    /// Any number.
    Many,
}

impl Machines {
    /// The word used on the command line and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Machines::One => "one",
            Machines::Many => "many",
        }
    }
}

impl fmt::Display for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is neither `one` nor `many`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("found machines = {found:?}, expected \"one\" or \"many\"")]
pub struct MachinesError {
    found: String,
}

impl FromStr for Machines {
    type Err = MachinesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "one" => Ok(Machines::One),
            "many" => Ok(Machines::Many),
            _ => Err(MachinesError { found: text.to_owned() }),
        }
    }
}

/// What an access token of an identity is worth to who holds it (RFC 8705 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Tokens {
    /// Nothing without a key of the lineage it was given to. The default: a stolen token opens no door.
    #[default]
    Bound,
    /// All it says: for callers behind something that ends TLS.
    Bearer,
}

impl Tokens {
    /// The word used on the command line and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Tokens::Bound => "bound",
            Tokens::Bearer => "bearer",
        }
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is neither `bound` nor `bearer`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("found tokens = {found:?}, expected \"bound\" or \"bearer\"")]
pub struct TokensError {
    found: String,
}

impl FromStr for Tokens {
    type Err = TokensError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "bound" => Ok(Tokens::Bound),
            "bearer" => Ok(Tokens::Bearer),
            _ => Err(TokensError { found: text.to_owned() }),
        }
    }
}

/// The CA's own names. Below the path `/countersign` everything is reserved besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReservedNames {
    /// Its DNS names.
    pub dns: Vec<DnsName>,
    /// Its addresses.
    pub ip: Vec<IpAddr>,
}

/// Why a registration may not stand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistrationError {
    /// An identity (or its parent) of another trust domain.
    #[error("{found} is not in the trust domain {expected}")]
    TrustDomain {
        /// The identity.
        found: SpiffeId,
        /// Our trust domain.
        expected: TrustDomain,
    },
    /// The trust domain itself is not a workload (X509-SVID §5.2).
    #[error("{found} has no path, expected an identity such as {found}/payments")]
    NoPath {
        /// The identity.
        found: SpiffeId,
    },
    /// A name of the CA's own.
    #[error("{found} belongs to the CA itself and is never registered")]
    Reserved {
        /// The name.
        found: String,
    },
    /// An address that is no single host's.
    #[error("the address {found} is not the address of one host")]
    Address {
        /// The address.
        found: IpAddr,
    },
    /// The same name twice.
    #[error("{found} is listed twice")]
    Duplicate {
        /// The name.
        found: String,
    },
    /// More names than fit a certificate.
    #[error("all names together take {found} octets, at most {MAX_NAMES} fit a certificate")]
    NamesTooLong {
        /// How many they take.
        found: usize,
    },
    /// It would be over before it begins.
    #[error("it ends at {until}, before it was created at {created}")]
    EndsBeforeCreated {
        /// Its end.
        until: Timestamp,
        /// Its beginning.
        created: Timestamp,
    },
    /// A key that is not registered.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// No profile named.
    #[error("no profile is named")]
    NoProfile,
}

/// One field in which two registrations differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub field: &'static str,
    /// What it is in the one asked.
    pub ours: String,
    /// What it is in the other.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} and would be {}", self.field, self.ours, self.theirs)
    }
}

impl Registration {
    /// Whether it may stand in this trust domain, beside the CA's own names. What it has in common with other
    /// registrations (shared names) is the book's to judge.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn validate(
        &self,
        trust_domain: &TrustDomain,
        reserved: &ReservedNames,
    ) -> Result<(), RegistrationError> {
        for id in [Some(&self.id), self.parent.as_ref()].into_iter().flatten() {
            check_id(id, trust_domain)?;
        }
        if self.profile.is_empty() {
            return Err(RegistrationError::NoProfile);
        }
        if let Some(until) = self.until
            && until <= self.created
        {
            return Err(RegistrationError::EndsBeforeCreated { until, created: self.created });
        }
        self.check_dns(reserved)?;
        self.check_ip(reserved)?;
        token_key::check(&self.token_keys)?;
        self.check_length()
    }

    /// Every field but `created` in which `other` differs. The order of names does not count.
    #[must_use]
    pub fn differences(&self, other: &Registration) -> Vec<Difference> {
        let fields = [
            ("id", self.id.to_string(), other.id.to_string()),
            ("profile", self.profile.clone(), other.profile.clone()),
            ("dns", listed(&self.dns), listed(&other.dns)),
            ("ip", listed(&self.ip), listed(&other.ip)),
            ("until", optional(self.until.as_ref()), optional(other.until.as_ref())),
            ("owner", optional(self.owner.as_ref()), optional(other.owner.as_ref())),
            ("machines", self.machines.to_string(), other.machines.to_string()),
            ("tokens", self.tokens.to_string(), other.tokens.to_string()),
            ("token_keys", listed(&self.token_keys), listed(&other.token_keys)),
            ("shared", self.shared.to_string(), other.shared.to_string()),
            ("parent", optional(self.parent.as_ref()), optional(other.parent.as_ref())),
            ("selectors", listed(&self.selectors), listed(&other.selectors)),
        ];
        fields
            .into_iter()
            .filter(|(_, ours, theirs)| ours != theirs)
            .map(|(field, ours, theirs)| Difference { field, ours, theirs })
            .collect()
    }

    fn check_dns(&self, reserved: &ReservedNames) -> Result<(), RegistrationError> {
        for (n, name) in self.dns.iter().enumerate() {
            if reserved.dns.contains(name) {
                return Err(RegistrationError::Reserved { found: format!("the DNS name {name}") });
            }
            if self.dns.iter().take(n).any(|before| before == name) {
                return Err(RegistrationError::Duplicate { found: format!("the DNS name {name}") });
            }
        }
        Ok(())
    }

    fn check_ip(&self, reserved: &ReservedNames) -> Result<(), RegistrationError> {
        for (n, ip) in self.ip.iter().enumerate() {
            // ::ffff:10.0.0.1 would be a second spelling of 10.0.0.1.
            if ip.is_unspecified() || ip.is_multicast() || *ip != ip.to_canonical() {
                return Err(RegistrationError::Address { found: *ip });
            }
            if reserved.ip.iter().any(|own| own.to_canonical() == *ip) {
                return Err(RegistrationError::Reserved { found: format!("the address {ip}") });
            }
            if self.ip.iter().take(n).any(|before| before == ip) {
                return Err(RegistrationError::Duplicate { found: format!("the address {ip}") });
            }
        }
        Ok(())
    }

    fn check_length(&self) -> Result<(), RegistrationError> {
        let dns: usize = self.dns.iter().map(|name| name.as_str().len() + 3).sum();
        let found = self.id.as_str().len() + 3 + dns + self.ip.len() * 18;
        if found > MAX_NAMES { Err(RegistrationError::NamesTooLong { found }) } else { Ok(()) }
    }
}

fn check_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), RegistrationError> {
    if !id.in_trust_domain(trust_domain) {
        return Err(RegistrationError::TrustDomain { found: id.clone(), expected: trust_domain.clone() });
    }
    if !id.has_path() {
        return Err(RegistrationError::NoPath { found: id.clone() });
    }
    if id.is_reserved() {
        return Err(RegistrationError::Reserved { found: id.to_string() });
    }
    Ok(())
}

fn listed<T: fmt::Display>(values: &[T]) -> String {
    let sorted: BTreeSet<String> = values.iter().map(T::to_string).collect();
    if sorted.is_empty() { "none".to_owned() } else { Vec::from_iter(sorted).join(", ") }
}

fn optional<T: fmt::Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), T::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> Registration {
        Registration {
            id: "spiffe://prod.example/payments".parse().unwrap(),
            profile: "workload".to_owned(),
            dns: vec!["pay.example".parse().unwrap()],
            ip: vec!["10.0.0.7".parse().unwrap()],
            until: None,
            owner: None,
            machines: Machines::One,
            tokens: Tokens::Bound,
            token_keys: Vec::new(),
            shared: false,
            parent: None,
            selectors: Vec::new(),
            created: Timestamp::from_unix(1_000),
        }
    }

    fn judged(change: impl FnOnce(&mut Registration)) -> Result<(), RegistrationError> {
        let reserved = ReservedNames {
            dns: vec!["ca.example".parse().unwrap()],
            ip: vec!["127.0.0.1".parse().unwrap()],
        };
        let mut registration = registration();
        change(&mut registration);
        registration.validate(&"prod.example".parse().unwrap(), &reserved)
    }

    #[test]
    fn an_ordinary_registration_stands() {
        assert_eq!(judged(|_| {}), Ok(()));
    }

    #[test]
    fn identities_of_another_trust_domain_or_without_a_path_are_refused() {
        let foreign: SpiffeId = "spiffe://other.example/payments".parse().unwrap();
        assert!(matches!(judged(|r| r.id = foreign.clone()), Err(RegistrationError::TrustDomain { .. })));
        assert!(matches!(judged(|r| r.parent = Some(foreign)), Err(RegistrationError::TrustDomain { .. })));
        let bare: SpiffeId = "spiffe://prod.example".parse().unwrap();
        assert!(matches!(judged(|r| r.id = bare), Err(RegistrationError::NoPath { .. })));
    }

    #[test]
    fn the_names_of_the_ca_are_never_registered() {
        for path in ["countersign", "countersign/ca", "countersign/trust"] {
            let id: SpiffeId = format!("spiffe://prod.example/{path}").parse().unwrap();
            assert!(matches!(judged(|r| r.id = id.clone()), Err(RegistrationError::Reserved { .. })));
            assert!(matches!(judged(|r| r.parent = Some(id)), Err(RegistrationError::Reserved { .. })));
        }
        assert!(matches!(
            judged(|r| r.dns.push("ca.example".parse().unwrap())),
            Err(RegistrationError::Reserved { .. })
        ));
        assert!(matches!(
            judged(|r| r.ip.push("127.0.0.1".parse().unwrap())),
            Err(RegistrationError::Reserved { .. })
        ));
    }

    #[test]
    fn addresses_that_are_not_one_hosts_or_spelled_twice_are_refused() {
        for ip in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:127.0.0.1"] {
            assert!(matches!(
                judged(|r| r.ip.push(ip.parse().unwrap())),
                Err(RegistrationError::Address { .. })
            ));
        }
        assert!(matches!(judged(|r| r.ip.push(r.ip[0])), Err(RegistrationError::Duplicate { .. })));
        assert!(matches!(judged(|r| r.dns.push(r.dns[0].clone())), Err(RegistrationError::Duplicate { .. })));
    }

    #[test]
    fn more_names_than_fit_a_certificate_are_refused() {
        let long = (0..40).map(|n| format!("host-{n}.a-rather-long-name.example").parse().unwrap()).collect();
        assert!(matches!(judged(|r| r.dns = long), Err(RegistrationError::NamesTooLong { .. })));
    }

    #[test]
    fn an_end_before_the_beginning_and_a_missing_profile_are_refused() {
        let ended = judged(|r| r.until = Some(Timestamp::from_unix(1_000)));
        assert!(matches!(ended, Err(RegistrationError::EndsBeforeCreated { .. })));
        assert_eq!(judged(|r| r.profile.clear()), Err(RegistrationError::NoProfile));
    }

    #[test]
    fn differences_name_each_field_and_ignore_order_and_creation() {
        let ours = registration();
        let mut theirs = registration();
        theirs.created = Timestamp::from_unix(2_000);
        theirs.dns = vec!["b.example".parse().unwrap(), "pay.example".parse().unwrap()];
        theirs.machines = Machines::Many;
        let fields: Vec<_> = ours.differences(&theirs).iter().map(|difference| difference.field).collect();
        assert_eq!(fields, ["dns", "machines"]);
        let mut reordered = theirs.clone();
        reordered.dns.reverse();
        assert_eq!(theirs.differences(&reordered), []);
        assert_eq!(ours.differences(&theirs)[1].to_string(), "machines is one and would be many",);
    }
}

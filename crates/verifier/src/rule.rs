//! The peer rule: which identities a connection is for.

use std::fmt;

use countersign_identity::{IdPattern, SpiffeId, TrustDomain};

use crate::peer::VerifiedPeer;
use crate::refusal::Refusal;

/// Which peers are let through. There is no default: a service that names nobody does not compile.
///
/// ```
/// use countersign_verifier::PeerRule;
///
/// let rule = PeerRule::matching(["spiffe://prod.example/payments/**".parse()?]);
/// assert!(rule.admits(&"spiffe://prod.example/payments/api".parse()?));
/// assert!(!rule.admits(&"spiffe://prod.example/reporting".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PeerRule(Rule);

#[derive(Clone, Debug)]
enum Rule {
    OneOf(Vec<SpiffeId>),
    Matching(Vec<IdPattern>),
    TrustDomain(TrustDomain),
    Any,
}

/// The rule nobody should need; the detour makes every use of it visible to one search.
#[derive(Debug)]
pub struct DangerousRules(());

impl PeerRule {
    /// Exactly these identities. An empty list admits nobody.
    #[must_use]
    pub fn one_of(ids: impl IntoIterator<Item = SpiffeId>) -> Self {
        Self(Rule::OneOf(ids.into_iter().collect()))
    }

    /// Every identity one of these patterns matches. An empty list admits nobody.
    #[must_use]
    pub fn matching(patterns: impl IntoIterator<Item = IdPattern>) -> Self {
        Self(Rule::Matching(patterns.into_iter().collect()))
    }

    /// Every workload of one trust domain; what it may do is left to the permission policy.
    #[must_use]
    pub const fn trust_domain(domain: TrustDomain) -> Self {
        Self(Rule::TrustDomain(domain))
    }

    /// Rules that give up a protection.
    #[must_use]
    pub const fn dangerous() -> DangerousRules {
        DangerousRules(())
    }

    /// Whether this identity is let through.
    #[must_use]
    pub fn admits(&self, id: &SpiffeId) -> bool {
        match &self.0 {
            Rule::OneOf(ids) => ids.contains(id),
            Rule::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(id).is_some()),
            Rule::TrustDomain(domain) => id.in_trust_domain(domain),
            Rule::Any => true,
        }
    }

    pub(crate) fn check(&self, peer: VerifiedPeer) -> Result<VerifiedPeer, Refusal> {
        if self.admits(peer.spiffe_id()) {
            return Ok(peer);
        }
        Err(Refusal::NotAllowed { spiffe_id: peer.spiffe_id().clone(), rule: self.to_string() })
    }
}

impl DangerousRules {
    /// Every peer with a certificate of any trust domain held, federated ones included.
    #[must_use]
    pub const fn any_peer(self) -> PeerRule {
        PeerRule(Rule::Any)
    }
}

impl fmt::Display for PeerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::OneOf(ids) => write_list(f, "only", ids),
            Rule::Matching(patterns) => write_list(f, "only what matches", patterns),
            Rule::TrustDomain(domain) => write!(f, "only workloads of trust domain {domain} are"),
            Rule::Any => f.write_str("every verified peer is"),
        }
    }
}

fn write_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, lead: &str, items: &[T]) -> fmt::Result {
    let Some((first, rest)) = items.split_first() else { return f.write_str("the rule names nobody") };
    write!(f, "{lead} {first}")?;
    match rest.len() {
        0 => f.write_str(" is"),
        more => write!(f, " and {more} more are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().expect("a valid SPIFFE ID")
    }

    #[test]
    fn an_empty_rule_admits_nobody() {
        // Invariant 6: default deny.
        let somebody = id("spiffe://prod.example/payments");
        assert!(!PeerRule::one_of([]).admits(&somebody));
        assert!(!PeerRule::matching([]).admits(&somebody));
        assert_eq!(PeerRule::one_of([]).to_string(), "the rule names nobody");
    }

    #[test]
    fn a_list_admits_exactly_its_members() {
        let rule = PeerRule::one_of([id("spiffe://prod.example/payments")]);
        assert!(rule.admits(&id("spiffe://prod.example/payments")));
        assert!(!rule.admits(&id("spiffe://prod.example/payments/api")));
        assert!(!rule.admits(&id("spiffe://test.example/payments")));
    }

    #[test]
    fn a_trust_domain_rule_does_not_admit_a_domain_it_is_a_prefix_of() {
        let rule = PeerRule::trust_domain("prod.example".parse().expect("a trust domain"));
        assert!(rule.admits(&id("spiffe://prod.example/a")));
        assert!(!rule.admits(&id("spiffe://prod.example.evil/a")));
    }

    #[test]
    fn only_the_dangerous_rule_admits_everybody() {
        assert!(PeerRule::dangerous().any_peer().admits(&id("spiffe://other.example/x")));
    }
}

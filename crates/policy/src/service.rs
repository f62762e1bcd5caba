//! Who a service is: the identities under which it runs.

use countersign_identity::{IdPattern, SpiffeId, TrustDomain};
use std::collections::BTreeMap;

/// Each service a policy declares, with the identities written for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Services(BTreeMap<Box<str>, Option<Box<[IdPattern]>>>);

impl Services {
    pub(crate) fn insert(&mut self, service: &str, identities: Option<Box<[IdPattern]>>) {
        self.0.insert(service.into(), identities);
    }

    /// Each service with who it is, in words: the patterns written for it, or what stands where none are.
    pub(crate) fn in_words(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|(service, identities)| {
            let words = match identities {
                Some(patterns) if patterns.is_empty() => "nobody".to_owned(),
                Some(patterns) => patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                None => format!("/{service} of the CA's trust domain"),
            };
            (&**service, words)
        })
    }

    /// Whether `id` runs `service`. Where nothing is written, that is the identity `/service` of `home`: the narrowest
    /// answer that needs no configuration, since a name of one segment is the first that an operator registers, and
    /// nobody else gets it by having the service's name somewhere in a longer path.
    pub(crate) fn serves(&self, id: &SpiffeId, service: &str, home: &TrustDomain) -> bool {
        match self.0.get(service) {
            None => false,
            Some(Some(identities)) => identities.iter().any(|pattern| pattern.matches(id).is_some()),
            Some(None) => id.in_trust_domain(home) && id.segments().eq([service]),
        }
    }
}

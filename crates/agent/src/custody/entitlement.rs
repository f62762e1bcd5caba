//! Which processes may have one identity.

use std::collections::BTreeSet;

use countersign_api::WorkloadRegistration;
use countersign_identity::{SpiffeId, Timestamp};

use crate::attest::Selector;

/// An identity, and what a process must be to get it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entitlement {
    pub(crate) id: SpiffeId,
    selectors: BTreeSet<Selector>,
    until: Option<Timestamp>,
}

impl Entitlement {
    /// The machine's own identity, for processes that this machine's operator names.
    pub(crate) fn of_machine(id: &SpiffeId, selectors: &[Selector]) -> Self {
        Self { id: id.clone(), selectors: selectors.iter().cloned().collect(), until: None }
    }

    /// A registration at the CA. One with a selector that this program does not know is for no process: leaving the
    /// selector out would let more processes in than the registration says.
    pub(crate) fn of_workload(registration: &WorkloadRegistration) -> Result<Self, String> {
        let id: SpiffeId = registration.spiffe_id.parse().map_err(|error| format!("{error}"))?;
        if id.is_reserved() {
            return Err(format!("{id} is reserved for the CA itself"));
        }
        let selectors: BTreeSet<Selector> = registration
            .selectors
            .iter()
            .map(|text| text.parse().map_err(|error| format!("{id}: {error}")))
            .collect::<Result<_, _>>()?;
        if selectors.is_empty() {
            return Err(format!("{id}: it names no selector, so no process"));
        }
        let until = registration.until.as_deref().map(str::parse).transpose();
        let until = until.map_err(|error| format!("{id}: until: {error}"))?;
        Ok(Self { id, selectors, until })
    }

    /// Whether a process of which all this is true may have it at `now`.
    pub(crate) fn is_for(&self, process: &BTreeSet<Selector>, now: Timestamp) -> bool {
        // Nothing asked is nothing proven: an empty set is for nobody.
        !self.selectors.is_empty()
            && self.selectors.is_subset(process)
            && self.until.is_none_or(|until| now <= until)
    }

    /// Whether the digest of a program matters.
    pub(crate) fn asks_for_digest(&self) -> bool {
        self.selectors.iter().any(|selector| matches!(selector, Selector::Sha256(_)))
    }

    /// How much it asks: of two identities for one process, the one that asks more is the more particular.
    pub(crate) fn particularity(&self) -> usize {
        self.selectors.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn registration(selectors: &[&str]) -> WorkloadRegistration {
        WorkloadRegistration {
            spiffe_id: "spiffe://prod.example/api".into(),
            selectors: selectors.iter().map(ToString::to_string).collect(),
            until: Some("2026-11-23T12:00:00Z".into()),
        }
    }

    #[test]
    fn a_process_must_be_all_that_is_asked_and_in_time() {
        let noon: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let entitlement = Entitlement::of_workload(&registration(&["unix:uid:1", "unix:gid:2"])).unwrap();
        let process =
            BTreeSet::from([Selector::Uid(1), Selector::Gid(2), Selector::Unit("a.service".into())]);
        assert!(entitlement.is_for(&process, noon));
        assert!(!entitlement.is_for(&process, noon + Duration::from_secs(1)));
        assert!(!entitlement.is_for(&BTreeSet::from([Selector::Uid(1)]), noon));
        assert!(!Entitlement::of_machine(&entitlement.id, &[]).is_for(&process, noon));
    }

    #[test]
    fn a_registration_that_is_not_understood_in_full_is_for_nobody() {
        for selectors in [&["unix:uid:1", "k8s:ns:prod"][..], &[]] {
            assert!(Entitlement::of_workload(&registration(selectors)).is_err(), "{selectors:?}");
        }
        let reserved = WorkloadRegistration {
            spiffe_id: "spiffe://prod.example/countersign/ca".into(),
            ..registration(&["unix:uid:1"])
        };
        assert!(Entitlement::of_workload(&reserved).unwrap_err().contains("reserved"));
    }
}

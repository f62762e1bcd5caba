//! How everything stands at one moment: who may have what, and what is there to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_identity::{Serial, SpiffeId, Timestamp, TrustDomain};
use rustls_pki_types::CertificateDer;

use super::authorities::Authorities;
use super::entitlement::Entitlement;
use super::svid::Svid;
use crate::attest::Selector;

/// Why an identity is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// The CA does not give it.
    Refused(String),
    /// The CA is away, or something on this machine is in the way.
    Away(String),
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) trust_domain: Option<TrustDomain>,
    pub(crate) machine: Option<SpiffeId>,
    pub(crate) own: Vec<Entitlement>,
    pub(crate) workloads: Vec<Entitlement>,
    pub(crate) svids: BTreeMap<SpiffeId, Arc<Svid>>,
    pub(crate) troubles: BTreeMap<SpiffeId, Trouble>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) authorities: Arc<Authorities>,
    /// When the CA last told them.
    pub(crate) authorities_told: Option<Timestamp>,
    /// The last number of the registrations that was heard from the CA.
    pub(crate) sequence: Option<u64>,
}

impl View {
    /// The identities a process may have, the most particular first; the machine's own comes last.
    pub(crate) fn entitled(&self, process: &BTreeSet<Selector>, now: Timestamp) -> Vec<SpiffeId> {
        let mut found: Vec<_> =
            self.workloads.iter().filter(|entitlement| entitlement.is_for(process, now)).collect();
        found.sort_by_key(|entitlement| std::cmp::Reverse(entitlement.particularity()));
        let own = self.own.iter().find(|entitlement| entitlement.is_for(process, now));
        let mut ids: Vec<SpiffeId> = Vec::new();
        for entitlement in found.into_iter().chain(own) {
            if !ids.contains(&entitlement.id) {
                ids.push(entitlement.id.clone());
            }
        }
        ids
    }

    /// The serial number of the machine's own certificate.
    pub(crate) fn serial(&self) -> Option<Serial> {
        self.svids.get(self.machine.as_ref()?).map(|svid| svid.serial())
    }

    /// Whether any registration wants to know the digest of a program.
    pub(crate) fn asks_for_digest(&self) -> bool {
        self.own.iter().chain(&self.workloads).any(Entitlement::asks_for_digest)
    }

    /// Whether the identity is one of this machine's workloads.
    pub(crate) fn is_workload(&self, id: &SpiffeId) -> bool {
        self.workloads.iter().any(|entitlement| entitlement.id == *id)
    }

    /// What is held of an identity, if it is in its time.
    pub(crate) fn svid(&self, id: &SpiffeId, now: Timestamp) -> Option<&Arc<Svid>> {
        self.svids.get(id).filter(|svid| svid.validity().contains(now))
    }
}

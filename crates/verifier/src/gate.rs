//! The gate: what a verified peer may do, by the permission policy in force.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_identity::{Clock, SpiffeId, Timestamp};
use countersign_policy::{Decision, Permission, PermissionLiteral, Policy, Standing, who_can};

use crate::caller::{Caller, Credential};
use crate::peer::VerifiedPeer;
use crate::report::Reporter;

/// Answers what verified peers may do. Default deny: an identity without a grant may do nothing.
///
/// ```
/// # use std::sync::Arc;
/// # use arc_swap::ArcSwap;
/// # use countersign_verifier::*;
/// # fn example(peer: VerifiedPeer, text: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let policy = Arc::new(ArcSwap::from_pointee(Policy::parse(text, "policy.toml")?));
/// let gate = Gate::new(policy, Arc::new(SystemClock));
///
/// let admitted = gate.admit(peer);                        // once per connection
/// let decision = admitted.authorize(&"ledger:write".parse()?); // once per request
/// if !decision.allowed {
///     eprintln!("{decision}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Gate {
    policy: Arc<ArcSwap<Policy>>,
    clock: Arc<dyn Clock>,
    reporter: Option<Reporter>,
}

/// A peer on one connection, its permissions resolved. Cloning shares them.
#[derive(Clone)]
pub struct Admitted {
    caller: Caller,
    peer: VerifiedPeer,
}

impl Gate {
    /// A gate of whatever policy `policy` holds at each question; store another to change it.
    #[must_use]
    pub const fn new(policy: Arc<ArcSwap<Policy>>, clock: Arc<dyn Clock>) -> Self {
        Self { policy, clock, reporter: None }
    }

    /// Tells each answer to `reporter`, too.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter: Some(reporter), ..self }
    }

    pub(crate) const fn reporter(&self) -> Option<&Reporter> {
        self.reporter.as_ref()
    }

    /// Resolves the peer's permissions, to be asked for as long as its connection lives.
    #[must_use]
    pub fn admit(&self, peer: VerifiedPeer) -> Admitted {
        Admitted { caller: self.caller(Credential::Certificate(peer.clone())), peer }
    }

    /// The same for any credential.
    #[must_use]
    pub fn caller(&self, credential: Credential) -> Caller {
        Caller::new(self.clone(), credential)
    }

    /// Resolves and asks in one, for a peer with a single question.
    #[must_use]
    pub fn authorize(&self, peer: &VerifiedPeer, permission: &Permission) -> Decision {
        self.admit(peer.clone()).authorize(permission)
    }

    /// Those of a service's permissions that the policy does not declare, so that nobody can hold them: spelling
    /// mistakes, there or here. Asked at the start, once the policy is there; each is said in the log.
    #[must_use]
    pub fn unknown(&self, permissions: &[PermissionLiteral]) -> Vec<PermissionLiteral> {
        let unknown = permissions.iter().copied().filter(|literal| !self.knows(&Permission::from(*literal)));
        let unknown: Vec<_> = unknown.collect();
        for permission in &unknown {
            tracing::warn!(%permission, "no service of the policy declares this permission, so nobody can hold it");
        }
        unknown
    }

    /// Those of a service's permissions that no grant of the policy gives anybody: endpoints without a rule. Asked at the start like
    /// [`unknown`](Gate::unknown); each is said in the log.
    #[must_use]
    pub fn ungranted(&self, permissions: &[PermissionLiteral]) -> Vec<PermissionLiteral> {
        let policy = self.policy.load();
        let nobody = |literal: &PermissionLiteral| who_can(&policy, &Permission::from(*literal)).is_empty();
        let ungranted: Vec<_> = permissions.iter().copied().filter(nobody).collect();
        for permission in &ungranted {
            tracing::info!(%permission, "no grant of the policy gives this permission to anybody");
        }
        ungranted
    }

    /// Whether the policy declares this permission at all: one it does not is a spelling mistake.
    #[must_use]
    pub fn knows(&self, permission: &Permission) -> bool {
        self.policy.load().knows(permission)
    }

    pub(crate) fn resolve(&self, id: &SpiffeId, now: Timestamp) -> Standing {
        self.policy.load().resolve(id, now)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether a standing comes from the policy in force.
    pub(crate) fn is_of_now(&self, standing: &Standing) -> bool {
        standing.version() == *self.policy.load().version()
    }
}

impl Admitted {
    /// Who it is.
    #[must_use]
    pub const fn peer(&self) -> &VerifiedPeer {
        &self.peer
    }

    /// The same as one caller among others.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the peer may do this now, by which rule, and until when that holds.
    ///
    /// A set lookup; permissions are resolved again only when the policy was replaced or one of its times has come.
    #[must_use]
    pub fn authorize(&self, permission: &Permission) -> Decision {
        self.caller.authorize(permission)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("policy", self.policy.load().version()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admitted").field(&self.peer).finish()
    }
}

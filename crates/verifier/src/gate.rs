//! The gate: what a verified peer may do, by the permission policy in force.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_identity::{Clock, Timestamp};
use countersign_policy::{Decision, Permission, PermissionLiteral, Policy, Standing};

use crate::outcome;
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
pub struct Admitted(Arc<Resolved>);

struct Resolved {
    gate: Gate,
    peer: VerifiedPeer,
    standing: ArcSwap<Standing>,
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
        let standing = self.resolve(&peer, self.clock.now());
        Admitted(Arc::new(Resolved { gate: self.clone(), peer, standing: ArcSwap::from_pointee(standing) }))
    }

    /// Resolves and asks in one, for a peer with a single question.
    #[must_use]
    pub fn authorize(&self, peer: &VerifiedPeer, permission: &Permission) -> Decision {
        let decision = self.decide(peer, permission);
        outcome::authorization(peer, &decision, None, None, self.reporter());
        decision
    }

    /// The same, said to nobody.
    pub(crate) fn decide(&self, peer: &VerifiedPeer, permission: &Permission) -> Decision {
        let now = self.clock.now();
        decide(&self.resolve(peer, now), peer, permission, now)
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

    /// Whether the policy declares this permission at all: one it does not is a spelling mistake.
    #[must_use]
    pub fn knows(&self, permission: &Permission) -> bool {
        self.policy.load().knows(permission)
    }

    fn resolve(&self, peer: &VerifiedPeer, now: Timestamp) -> Standing {
        self.policy.load().resolve(peer.spiffe_id(), now)
    }
}

impl Admitted {
    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> &VerifiedPeer {
        &self.0.peer
    }

    #[cfg(feature = "axum")]
    pub(crate) fn reporter(&self) -> Option<&Reporter> {
        self.0.gate.reporter()
    }

    /// Whether the peer may do this now, by which rule, and until when that holds.
    ///
    /// A set lookup; permissions are resolved again only when the policy was replaced or one of its times has come.
    #[must_use]
    pub fn authorize(&self, permission: &Permission) -> Decision {
        let decision = self.decide(permission);
        outcome::authorization(&self.0.peer, &decision, None, None, self.0.gate.reporter());
        decision
    }

    /// The same, said to nobody.
    pub(crate) fn decide(&self, permission: &Permission) -> Decision {
        let Resolved { gate, peer, standing } = &*self.0;
        let now = gate.clock.now();
        let held = standing.load();
        if held.holds_at(now) && held.version() == *gate.policy.load().version() {
            return decide(&held, peer, permission, now);
        }
        let fresh = gate.resolve(peer, now);
        let decision = decide(&fresh, peer, permission, now);
        standing.store(Arc::new(fresh));
        decision
    }
}

/// The one place that answers (Invariant 7). A certificate that has ended grants nothing, whatever the policy says.
fn decide(standing: &Standing, peer: &VerifiedPeer, permission: &Permission, now: Timestamp) -> Decision {
    let mut decision = standing.decision(permission);
    let end = peer.not_after() + Duration::from_secs(1);
    decision.valid_until = Some(decision.valid_until.map_or(end, |edge| edge.min(end)));
    if now >= end {
        decision.allowed = false;
        decision.rule = None;
    }
    decision
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("policy", self.policy.load().version()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admitted").field(&self.0.peer).finish()
    }
}

//! The permission policy in the book: what verifiers are told, and what the CA itself goes by.

use std::sync::Arc;

use countersign_identity::SpiffeId;
use countersign_policy::{Decision, Permission, Policy, RESERVED_SERVICE, diff};
use countersign_store::{Actor, PolicyRecord};

use super::{Ca, Refused};

/// What changing the policy takes.
const OWN_POLICY: &str = "countersign:policy";

/// A policy ready for use, as the book had it at a trust sequence.
#[derive(Debug)]
pub(super) struct Compiled {
    sequence: u64,
    policy: Arc<Policy>,
}

impl Ca {
    /// The policy that applies.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn policy(&self) -> Result<Option<PolicyRecord>, Refused> {
        Ok(self.book().policy()?)
    }

    /// Applies a policy whole, or not at all; its own tests must hold.
    ///
    /// # Errors
    /// Where in the text what is wrong, or which test fails.
    pub async fn apply_policy(&self, text: String, actor: Actor) -> Result<[u8; 32], Refused> {
        let _alone = self.applying.lock().await;
        self.put_in_force(text, actor).await
    }

    /// Only under `applying`.
    async fn put_in_force(&self, text: String, actor: Actor) -> Result<[u8; 32], Refused> {
        let now = self.now();
        let policy = parse(&text)?;
        if let Some(failure) = policy.run_tests(now).first() {
            return Err(Refused::Policy(format!("a test of the policy fails: {failure}")));
        }
        let version = *policy.version().as_bytes();
        self.book().set_policy(version, text, actor, now).await?;
        Ok(version)
    }

    /// The policy that applies, compiled once per version: large ones take a while. It is read again only when something
    /// of what verifiers must know has changed.
    pub(super) fn compiled_policy(&self) -> Result<Option<Arc<Policy>>, Refused> {
        // Read first: what changes while we look is looked at again.
        let sequence = *self.book().trust_sequence().borrow();
        let known = self.compiled.load_full();
        if let Some(known) = known.as_ref().filter(|known| known.sequence == sequence) {
            return Ok(Some(Arc::clone(&known.policy)));
        }
        let Some(record) = self.policy()? else { return Ok(None) };
        let policy = match known {
            Some(known) if *known.policy.version().as_bytes() == record.version => Arc::clone(&known.policy),
            _ => Arc::new(parse(&record.text)?),
        };
        self.compiled.store(Some(Arc::new(Compiled { sequence, policy: Arc::clone(&policy) })));
        Ok(Some(policy))
    }

    /// Whether `id` has `permission` now; `None` without a policy.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn decide(&self, id: &SpiffeId, permission: &Permission) -> Result<Option<Decision>, Refused> {
        let policy = self.compiled_policy()?;
        Ok(policy.map(|policy| policy.decide(id, permission, self.now())))
    }

    /// Whether any grant gives `id` a permission of the CA's own, in force or not; or a workload under it, whose certificates
    /// it is given.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn is_privileged(&self, id: &SpiffeId) -> Result<bool, Refused> {
        let Some(policy) = self.compiled_policy()? else { return Ok(false) };
        if policy.is_privileged(id) {
            return Ok(true);
        }
        let (_, children) = self.book().children(id)?;
        Ok(children.iter().any(|child| policy.is_privileged(&child.id)))
    }

    /// Applies a policy for `caller` over mTLS, who may not change who holds the CA's own permissions (DESIGN §4). The
    /// comparison, the caller's right and the change are one step: a right that was just taken away grants nothing.
    ///
    /// # Errors
    /// As [`Ca::apply_policy`], and with the rule that would change.
    pub async fn apply_policy_for(&self, caller: &SpiffeId, text: String) -> Result<[u8; 32], Refused> {
        let _alone = self.applying.lock().await;
        let right: Permission =
            OWN_POLICY.parse().map_err(|e| Refused::Policy(format!("{OWN_POLICY}: {e}")))?;
        let old = self.compiled_policy()?.ok_or_else(|| Refused::Policy("no policy is in force".into()))?;
        if !old.decide(caller, &right, self.now()).allowed {
            return Err(Refused::OwnGrants { id: caller.to_string(), permission: OWN_POLICY.into() });
        }
        if let Some(change) =
            diff(&old, &parse(&text)?).iter().find(|change| change.service() == RESERVED_SERVICE)
        {
            let (id, permission) = (change.id.to_string(), change.permission.clone());
            return Err(Refused::OwnGrants { id, permission });
        }
        self.put_in_force(text, Actor::Identity(caller.clone())).await
    }

    /// Takes up the file `init` left as the first policy; later only `policy apply` changes it (DESIGN §4).
    ///
    /// # Errors
    /// When the file cannot be read or is not valid.
    pub async fn load_first_policy(&self) -> Result<(), Refused> {
        if self.policy()?.is_some() {
            return Ok(());
        }
        let config = self.config();
        let path = config.file.with_file_name("policy.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                self.apply_policy(text, Actor::House)
                    .await
                    .map_err(|error| Refused::Policy(format!("{}: {error}", path.display())))?;
                Ok(())
            }
            // An operator without a policy has services that go by their own.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Refused::File(format!("{}: {error}", path.display()))),
        }
    }
}

fn parse(text: &str) -> Result<Policy, Refused> {
    Policy::parse(text, "policy").map_err(|e| Refused::Policy(e.to_string()))
}

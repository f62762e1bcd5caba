//! The permission policy in the book: what verifiers are told, and what the CA itself goes by.

use countersign_identity::SpiffeId;
use countersign_policy::{Decision, Permission, Policy, RESERVED_SERVICE, diff};
use countersign_store::{Actor, PolicyRecord};
use sha2::{Digest as _, Sha256};

use super::{Ca, Refused};

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
        let now = self.now();
        let policy = Policy::parse(&text, "policy").map_err(|e| Refused::Policy(e.to_string()))?;
        if let Some(failure) = policy.run_tests(now).first() {
            return Err(Refused::Policy(format!("a test of the policy fails: {failure}")));
        }
        let version: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        self.book().set_policy(version, text, actor, now).await?;
        Ok(version)
    }

    /// The policy that applies, compiled.
    fn compiled_policy(&self) -> Result<Option<Policy>, Refused> {
        let Some(record) = self.policy()? else { return Ok(None) };
        Policy::parse(&record.text, "policy").map(Some).map_err(|e| Refused::Policy(e.to_string()))
    }

    /// Whether `id` has `permission` now; `None` without a policy.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn decide(&self, id: &SpiffeId, permission: &Permission) -> Result<Option<Decision>, Refused> {
        let policy = self.compiled_policy()?;
        Ok(policy.map(|policy| policy.decide(id, permission, self.now())))
    }

    /// Whether any grant gives `id` a permission of the CA's own, in force or not.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn is_privileged(&self, id: &SpiffeId) -> Result<bool, Refused> {
        Ok(self.compiled_policy()?.is_some_and(|policy| policy.is_privileged(id)))
    }

    /// Over mTLS nobody changes who holds the CA's own permissions (DESIGN §4).
    ///
    /// # Errors
    /// Names one rule that `text` adds or takes away.
    pub fn refuse_own_grant_changes(&self, text: &str) -> Result<(), Refused> {
        let parse = |text: &str| Policy::parse(text, "policy").map_err(|e| Refused::Policy(e.to_string()));
        let old = self.policy()?.map(|record| parse(&record.text)).transpose()?;
        let empty = parse("version = 1")?;
        let changes = diff(old.as_ref().unwrap_or(&empty), &parse(text)?);
        match changes.iter().find(|change| change.service() == RESERVED_SERVICE) {
            Some(change) => {
                Err(Refused::OwnGrants { id: change.id.to_string(), permission: change.permission.clone() })
            }
            None => Ok(()),
        }
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

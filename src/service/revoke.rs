//! Revoking: renewal is refused at once, verifiers learn it from what the CA publishes.

use countersign_store::{Actor, Revoked, Target};

use super::{Ca, Refused};

impl Ca {
    /// Revokes what `target` names.
    ///
    /// # Errors
    /// When nothing live is named.
    pub async fn revoke(
        &self,
        target: Target,
        reason: String,
        actor: Actor,
        dry_run: bool,
    ) -> Result<Revoked, Refused> {
        let (what, who) = (format!("{target:?}"), actor.to_string());
        let revoked = self.book().revoke(target, reason, dry_run, actor, self.now()).await?;
        if !dry_run {
            let (certificates, machines) = (revoked.serials.len(), revoked.machines.len());
            tracing::warn!(what, who, certificates, machines, "revoked");
        }
        Ok(revoked)
    }
}

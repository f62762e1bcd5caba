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
        let revoked = self.book().revoke(target, reason, dry_run, actor, self.now()).await?;
        if !dry_run {
            tracing::warn!(serials = revoked.serials.len(), machines = revoked.machines.len(), "revoked");
        }
        Ok(revoked)
    }
}

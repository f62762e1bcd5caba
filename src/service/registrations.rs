//! Registrations: which identities may have certificates.

use countersign_identity::SpiffeId;
use countersign_issuance::Registration;
use countersign_store::{Actor, Cursor, Imported, Listing};

use super::{Ca, Refused};

impl Ca {
    /// What a registration must hold to whatever door it comes through.
    ///
    /// # Errors
    /// Names the rule.
    pub(super) fn check_registration(&self, registration: &Registration) -> Result<(), Refused> {
        registration.validate(self.trust_domain(), self.reserved())?;
        self.profile(&registration.profile).map(|_| ())
    }

    /// One registration.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn registration(&self, id: &SpiffeId) -> Result<Option<Registration>, Refused> {
        Ok(self.book().registration(id)?)
    }

    /// A page of registrations.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn registrations(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listing<Registration>, Refused> {
        Ok(self.book().registrations(after, limit)?)
    }

    /// Makes a registration, or changes the one that stands; machines follow at their next renewal.
    ///
    /// # Errors
    /// When it breaks a rule, or a name belongs to another identity.
    pub async fn set_registration(
        &self,
        mut registration: Registration,
        actor: Actor,
    ) -> Result<(), Refused> {
        let now = self.now();
        registration.created = self.book().registration(&registration.id)?.map_or(now, |old| old.created);
        self.check_registration(&registration)?;
        self.book().import_registrations(vec![registration], false, actor, now).await?;
        Ok(())
    }

    /// Removes a registration: nothing is issued under it any more.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove_registration(&self, id: SpiffeId, actor: Actor) -> Result<(), Refused> {
        self.book().remove_registration(id, actor, self.now()).await?;
        Ok(())
    }

    /// Many at once, all or none.
    ///
    /// # Errors
    /// Names the first that cannot be taken.
    pub async fn import_registrations(
        &self,
        mut registrations: Vec<Registration>,
        dry_run: bool,
        actor: Actor,
    ) -> Result<Imported, Refused> {
        let now = self.now();
        for registration in &mut registrations {
            self.check_registration(registration)?;
            registration.created = self.book().registration(&registration.id)?.map_or(now, |old| old.created);
        }
        Ok(self.book().import_registrations(registrations, dry_run, actor, now).await?)
    }
}

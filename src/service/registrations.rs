//! Registrations: which identities may have certificates.

use countersign_identity::{SpiffeId, Timestamp};
use countersign_issuance::Registration;
use countersign_store::{Actor, Cursor, Imported, Listing};

use super::{Ca, Refused};

impl Ca {
    /// What a registration must hold to whatever door it comes through; `before` is the one that stands.
    ///
    /// # Errors
    /// Names the rule.
    pub(super) fn check_registration(
        &self,
        registration: &Registration,
        before: Option<&Registration>,
    ) -> Result<(), Refused> {
        registration.validate(self.trust_domain(), self.reserved())?;
        self.check_token_keys(registration, before, self.now())?;
        self.profile(&registration.profile).map(|_| ())
    }

    /// The registration as it is to be written in place of the one that stands.
    fn settled(&self, registration: Registration, now: Timestamp) -> Result<Registration, Refused> {
        let before = self.book().registration(&registration.id)?;
        let created = before.as_ref().map_or(now, |old| old.created);
        let settled = self.with_settled_keys(Registration { created, ..registration }, before.as_ref());
        self.check_registration(&settled, before.as_ref())?;
        Ok(settled)
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
    pub async fn set_registration(&self, registration: Registration, actor: Actor) -> Result<(), Refused> {
        let now = self.now();
        let registration = self.settled(registration, now)?;
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
        registrations: Vec<Registration>,
        dry_run: bool,
        actor: Actor,
    ) -> Result<Imported, Refused> {
        let now = self.now();
        let settled = registrations.into_iter().map(|one| self.settled(one, now));
        let registrations = settled.collect::<Result<Vec<_>, _>>()?;
        Ok(self.book().import_registrations(registrations, dry_run, actor, now).await?)
    }
}

//! Enrolling: an invitation lets a key use a registration the first time (DESIGN §3).

use countersign_identity::{Lineage, MachineId};
use countersign_issuance::{Act, LedgerError, LedgerRefusal, ProvenKey, Registration, Source, approve};
use countersign_store::{Invitation, Redemption};
use sha2::{Digest as _, Sha256};

use super::{Ca, Granted, Refused, renew::may_act};

/// How often a race with the same key's other request is looked at again.
const TRIES: usize = 3;

/// What a machine brings.
#[derive(Clone)]
pub struct Enrollment {
    /// The invitation's secret.
    pub secret: [u8; 32],
    /// The certificate request, DER.
    pub csr: Vec<u8>,
    /// Where it came from.
    pub source: Source,
}

/// Invariant 8: the secret is never shown.
impl std::fmt::Debug for Enrollment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrollment").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Ca {
    /// Redeems an invitation. The same key may repeat it until its certificate ends and uses nothing up; what it was
    /// given before it is given again.
    ///
    /// # Errors
    /// Every reason not to issue; what was refused left nothing in the book but, perhaps, an event.
    pub async fn enroll(&self, enrollment: Enrollment) -> Result<Granted, Refused> {
        let invitation: [u8; 32] = Sha256::digest(enrollment.secret).into();
        let mut tries = 1;
        loop {
            match self.try_enroll(&invitation, &enrollment).await {
                // The same key's other request may have been first: then its certificate is the answer to this one.
                Err(Refused::Ledger(LedgerError::Refused(
                    LedgerRefusal::InvitationUsed
                    | LedgerRefusal::KeyInUse
                    | LedgerRefusal::LineageMoved
                    | LedgerRefusal::RegistrationChanged
                    | LedgerRefusal::SerialTaken,
                ))) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    async fn try_enroll(&self, hash: &[u8; 32], enrollment: &Enrollment) -> Result<Granted, Refused> {
        let known = self.book().invitation(hash)?;
        let invitation = known.ok_or(LedgerError::Refused(LedgerRefusal::InvitationUnknown))?;
        let key = ProvenKey::from_csr(&enrollment.csr, self.algorithms())?;
        let before = self.book().redemption(hash, &key.key_hash())?;
        let registration = self.standing_registration(&invitation)?;
        let keys = self.keys();
        match &before {
            Some(before) => {
                if let Some(granted) = self.repeated(before, &registration)? {
                    return Ok(granted);
                }
            }
            None => self.check_usable(&invitation)?,
        }
        let profile = self.profile(&registration.profile)?;
        let (machine, lineage) = match before {
            Some(before) => (before.machine, before.lineage),
            None => (
                MachineId::from_random(self.entropy().octets()),
                Lineage::from_random(self.entropy().octets()),
            ),
        };
        let approved = approve(key, &registration, &profile, &self.house(&keys), self.now())?;
        let act = Act::Enroll { invitation: *hash, machine, source: enrollment.source };
        let issued = self.walk_corridor(approved, lineage, act, &keys).await?;
        self.metrics().count_issued("enroll");
        tracing::info!(%machine, id = %registration.id, serial = %issued.serial(), "enrolled");
        Ok(Granted::new(machine, issued.validity(), &profile, issued.der(), keys.issuer().der()))
    }

    /// The certificate this key was given for this invitation.
    fn repeated(&self, before: &Redemption, registration: &Registration) -> Result<Option<Granted>, Refused> {
        let Some(kept) = self.book().issuance(before.serial)? else { return Ok(None) };
        if kept.issuance.revoked.is_some() {
            let serial = before.serial.to_string();
            return Err(Refused::CertificateRevoked { id: kept.issuance.spiffe_id, serial });
        }
        if let Some(machine) = self.book().machine(before.machine)? {
            may_act(machine.status)?;
        }
        self.granted_before(&self.keys(), before.machine, &kept, registration)
    }

    /// A first answer without a write; the book decides again in the step that counts.
    fn check_usable(&self, invitation: &Invitation) -> Result<(), Refused> {
        let refusal = if self.now() > invitation.expires {
            LedgerRefusal::InvitationExpired
        } else if invitation.used >= invitation.uses {
            LedgerRefusal::InvitationUsed
        } else {
            return Ok(());
        };
        Err(LedgerError::Refused(refusal).into())
    }

    fn standing_registration(&self, invitation: &Invitation) -> Result<Registration, Refused> {
        let registration = self.book().registration(&invitation.spiffe_id)?;
        registration.ok_or_else(|| LedgerError::Refused(LedgerRefusal::RegistrationGone).into())
    }
}

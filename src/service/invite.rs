//! Inviting: a one-time secret for a standing right.

use std::time::Duration;

use countersign_identity::Timestamp;
use countersign_issuance::Registration;
use countersign_store::{Actor, NewInvitation};
use sha2::{Digest as _, Sha256};

use super::{Ca, Refused};

/// Longer than this an invitation is a standing secret, which is what machines should not need.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the operator asks for.
#[derive(Clone, Debug)]
pub struct InvitationWish {
    /// The registration to use, or to create.
    pub registration: Registration,
    /// Which of its fields were said; the others follow an existing registration.
    pub stated: Vec<String>,
    /// How long the invitation lives.
    pub ttl: Duration,
    /// How many keys may redeem it.
    pub uses: u32,
}

/// An invitation's secret half, shown once.
#[derive(Clone)]
pub struct Invited {
    /// The secret; only its hash is in the book. None for a workload: its machine fetches its certificates.
    pub secret: Option<[u8; 32]>,
    /// SHA-256 of the root certificate: what the machine pins.
    pub root_sha256: [u8; 32],
    /// The last second it can be redeemed.
    pub expires: Timestamp,
    /// Whether the registration is new.
    pub registration_created: bool,
}

/// Invariant 8: the secret is never shown.
impl std::fmt::Debug for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invited").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Ca {
    /// Makes an invitation, and the registration if it is not there. A workload, whose registration has a parent, gets
    /// the registration alone.
    ///
    /// # Errors
    /// When the registration breaks a rule, or differs from the one that stands.
    pub async fn invite(&self, wish: InvitationWish, actor: Actor) -> Result<Invited, Refused> {
        if wish.ttl.is_zero() || wish.ttl > LONGEST {
            return Err(Refused::Parameter {
                what: "ttl",
                found: countersign_identity::duration::format(wish.ttl),
                expected: "between 1s and 30d".into(),
            });
        }
        if wish.uses == 0 {
            return Err(Refused::Parameter {
                what: "uses",
                found: "0".into(),
                expected: "at least 1".into(),
            });
        }
        // Whoever may invite lets a machine in, and gives nobody a key that needs none.
        if !wish.registration.token_keys.is_empty() {
            return Err(Refused::Parameter {
                what: "token_keys",
                found: format!("{} keys", wish.registration.token_keys.len()),
                expected: "none in an invitation: `countersign registrations add-key` registers them".into(),
            });
        }
        let now = self.now();
        let before = self.book().registration(&wish.registration.id)?;
        let registration = match before.clone() {
            Some(existing) => follow(existing, &wish),
            None => Registration { created: now, ..wish.registration },
        };
        self.check_registration(&registration, before.as_ref())?;
        let secret: [u8; 32] = self.entropy().octets();
        let expires = now + wish.ttl;
        let invitation =
            NewInvitation { hash: Sha256::digest(secret).into(), registration, expires, uses: wish.uses };
        let invited = self.book().invite(invitation, actor, now).await?;
        Ok(Invited {
            secret: invited.invited.then_some(secret),
            root_sha256: Sha256::digest(self.keys().root().der()).into(),
            expires,
            registration_created: invited.registration_created,
        })
    }
}

/// The existing registration with the stated fields as wished, so that the book names what differs.
fn follow(existing: Registration, wish: &InvitationWish) -> Registration {
    let mut asked = existing;
    let wished = wish.registration.clone();
    for field in &wish.stated {
        match field.as_str() {
            "profile" => asked.profile = wished.profile.clone(),
            "dns" => asked.dns = wished.dns.clone(),
            "ip" => asked.ip = wished.ip.clone(),
            "until" => asked.until = wished.until,
            "owner" => asked.owner = wished.owner.clone(),
            "machines" => asked.machines = wished.machines,
            "tokens" => asked.tokens = wished.tokens,
            "shared" => asked.shared = wished.shared,
            "parent" => asked.parent = wished.parent.clone(),
            "selectors" => asked.selectors = wished.selectors.clone(),
            _ => {}
        }
    }
    asked
}

//! Assertions that were used: each counts once (RFC 7523 §3), as long as it could be used again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use countersign_identity::Timestamp;
use sha2::{Digest as _, Sha256};

use super::Ungranted;

/// Used assertions remembered at once. At a minute each this is four thousand a second; past it none is taken rather than
/// one twice.
const MOST: usize = 262_144;

/// What was used, by hash, and until when that must be remembered.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<HashMap<[u8; 32], Timestamp>>);

impl Replays {
    /// Remembers that `subject` used the assertion `id`, which ends at `expires`.
    ///
    /// # Errors
    /// When it was used before, or there is no room to remember it.
    pub(super) fn first_time(
        &self,
        subject: &str,
        id: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), Ungranted> {
        let digest = digest(subject, id);
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MOST {
            used.retain(|_, ends| now < *ends);
        }
        unused(&used, &digest, now)?;
        if used.len() >= MOST {
            return Err(Ungranted::Stale("more assertions are in use than are remembered".to_owned()));
        }
        used.insert(digest, expires);
        Ok(())
    }

    /// Whether it is new, as far as is known now; nothing is remembered by this.
    ///
    /// # Errors
    /// When it was used before.
    pub(super) fn refuse_used(&self, subject: &str, id: &str, now: Timestamp) -> Result<(), Ungranted> {
        unused(&self.0.lock().unwrap_or_else(PoisonError::into_inner), &digest(subject, id), now)
    }

    /// Forgets those that are over.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, ends| now < *ends);
    }
}

fn digest(subject: &str, id: &str) -> [u8; 32] {
    Sha256::new().chain_update(subject).chain_update([0]).chain_update(id).finalize().into()
}

fn unused(used: &HashMap<[u8; 32], Timestamp>, digest: &[u8; 32], now: Timestamp) -> Result<(), Ungranted> {
    match used.get(digest).is_some_and(|ends| now < *ends) {
        true => Err(Ungranted::Client("the assertion: it was used before (jti)".to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_used_once_until_it_ends() {
        let (replays, now) = (Replays::default(), Timestamp::from_unix(1_000));
        let ends = Timestamp::from_unix(1_060);
        assert!(replays.first_time("a", "1", ends, now).is_ok());
        assert!(replays.first_time("a", "1", ends, now).is_err());
        assert!(replays.refuse_used("a", "1", now).is_err());
        assert!(replays.refuse_used("a", "2", now).is_ok(), "asking uses nothing up");
        assert!(replays.first_time("b", "1", ends, now).is_ok());
        assert!(replays.first_time("a", "2", ends, now).is_ok());
        replays.sweep(ends);
        assert_eq!(replays.0.lock().unwrap().len(), 0);
    }

    #[test]
    fn past_its_room_none_is_taken_until_some_are_over() {
        let (replays, now) = (Replays::default(), Timestamp::from_unix(1_000));
        let ends = Timestamp::from_unix(1_060);
        for n in 0..MOST {
            replays.first_time("a", &n.to_string(), ends, now).unwrap();
        }
        assert!(matches!(replays.first_time("a", "more", ends, now), Err(Ungranted::Stale(_))));
        assert!(replays.first_time("a", "more", ends, ends).is_ok());
    }
}

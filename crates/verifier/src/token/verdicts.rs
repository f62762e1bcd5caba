//! What an authorization server said of keys and tokens: remembered by their SHA-256, for a while, in a bounded room.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use countersign_identity::Timestamp;
use sha2::{Digest as _, Sha256};

use super::refusal::TokenRefusal;

/// How long a verdict is believed.
pub(super) const BELIEVED: Duration = Duration::from_secs(60);

/// How long it is believed that something is good for nothing: long enough that whoever tries it again and again does not reach the
/// authorization server each time, short enough that what was made a moment ago works soon.
const DISBELIEVED: Duration = Duration::from_secs(10);

/// How many verdicts are remembered.
const ROOM: usize = 4096;

/// SHA-256 of a key or token: what is remembered in its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SecretDigest([u8; 32]);

/// Something that was described, and that ends.
pub(super) trait Ends {
    /// The first second in which it is good for nothing.
    fn end(&self) -> Timestamp;
}

/// What was said, each for its time.
#[derive(Debug)]
pub(super) struct Verdicts<T>(HashMap<SecretDigest, (Result<T, TokenRefusal>, Timestamp)>);

impl SecretDigest {
    pub(super) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

impl<T> Default for Verdicts<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone + Ends> Verdicts<T> {
    /// What was said, while it is believed.
    pub(super) fn get(&self, digest: SecretDigest, now: Timestamp) -> Option<Result<T, TokenRefusal>> {
        let (verdict, until) = self.0.get(&digest)?;
        // A clock set back must not make a verdict good for longer than its time.
        let fresh = now < *until && until.since(now) <= BELIEVED;
        fresh.then(|| verdict.clone())
    }

    /// Remembers a verdict, never past the end of what it is about. Where there is no room, those that are over leave; then bad ones,
    /// since whoever floods with inventions must not push out the good ones; then anything.
    pub(super) fn put(&mut self, digest: SecretDigest, verdict: Result<T, TokenRefusal>, now: Timestamp) {
        let until = match &verdict {
            Ok(good) => (now + BELIEVED).min(good.end()),
            // That nothing is known is no verdict.
            Err(refusal) if refusal.is_ours() => return,
            Err(_) => now + DISBELIEVED,
        };
        if self.0.len() >= ROOM {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() >= ROOM {
            let bad = self.0.iter().find(|(_, (verdict, _))| verdict.is_err()).map(|(digest, _)| *digest);
            match bad.or_else(|| verdict.is_ok().then(|| self.0.keys().next().copied()).flatten()) {
                Some(place) => drop(self.0.remove(&place)),
                None => return,
            }
        }
        self.0.insert(digest, (verdict, until));
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);

    /// Something that ends in so many seconds.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Good(u64);

    impl Ends for Good {
        fn end(&self) -> Timestamp {
            after(self.0)
        }
    }

    fn after(seconds: u64) -> Timestamp {
        NOON + Duration::from_secs(seconds)
    }

    #[test]
    fn a_verdict_is_believed_for_a_minute_and_a_bad_one_for_less() {
        let mut verdicts = Verdicts::default();
        let [one, other, third] = ["csk1_one", "csk1_other", "csk1_third"].map(SecretDigest::of);
        verdicts.put(one, Ok(Good(3600)), NOON);
        verdicts.put(other, Err(TokenRefusal::Inactive), NOON);
        verdicts.put(third, Err(TokenRefusal::NotKnown { what: "away".to_owned() }), NOON);
        assert_eq!(verdicts.get(one, after(59)), Some(Ok(Good(3600))));
        assert_eq!(verdicts.get(one, after(60)), None);
        assert_eq!(verdicts.get(other, after(9)), Some(Err(TokenRefusal::Inactive)));
        assert_eq!(verdicts.get(other, after(10)), None);
        assert_eq!(verdicts.get(one, NOON - Duration::from_secs(100)), None, "a clock set back");
        assert_eq!(verdicts.get(third, NOON), None, "what nobody said");
    }

    #[test]
    fn nothing_is_believed_past_its_own_end() {
        let mut verdicts = Verdicts::default();
        let soon = SecretDigest::of("soon");
        verdicts.put(soon, Ok(Good(20)), NOON);
        assert_eq!(verdicts.get(soon, after(19)), Some(Ok(Good(20))));
        assert_eq!(verdicts.get(soon, after(20)), None);
    }

    #[test]
    fn invented_keys_push_out_no_good_one_and_take_no_more_than_their_room() {
        let mut verdicts = Verdicts::default();
        let kept = SecretDigest::of("csk1_kept");
        verdicts.put(kept, Ok(Good(3600)), NOON);
        for invented in 0..2 * ROOM {
            verdicts.put(SecretDigest::of(&invented.to_string()), Err(TokenRefusal::Inactive), NOON);
        }
        assert_eq!(verdicts.0.len(), ROOM);
        assert_eq!(verdicts.get(kept, NOON), Some(Ok(Good(3600))));
    }
}

//! The keys of another authorization server: given once, or fetched and looked at anew when a token names one that is unknown.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_identity::Timestamp;

use super::jwk::{JwkSetError, TokenKeys};
use crate::staleness::HardLimit;

/// How often at most an authorization server is asked, whatever tokens name: strangers choose what they name.
const FLOOR: Duration = Duration::from_secs(60);

/// How old a fetched set may become: a key taken back there is refused here so much later at most, once a token comes.
const OLD: Duration = Duration::from_secs(15 * 60);

/// Where the keys of another authorization server come from. Cloning shares them.
///
/// While they cannot be fetched, those fetched last count for a day, or what [`hard_limit`](ForeignKeys::hard_limit) says: then no token
/// can be judged by them (503), since whoever keeps the page away keeps away that a key was taken back. Before they were fetched once
/// it is the same.
#[derive(Clone)]
pub struct ForeignKeys {
    keys: Arc<Keys>,
    limit: HardLimit,
}

struct Keys {
    held: ArcSwap<TokenKeys>,
    looks: Mutex<Looks>,
    page: Option<crate::source::WebPage>,
}

/// When was looked.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    /// Whether or not it came to something.
    last: Option<Timestamp>,
    /// The last that did.
    good: Option<Timestamp>,
}

impl ForeignKeys {
    /// Exactly these keys, a JWK Set (RFC 7517 §5).
    ///
    /// # Errors
    /// When it is no such set.
    pub fn fixed(jwks: &[u8]) -> Result<Self, JwkSetError> {
        Ok(Self::of(TokenKeys::read(jwks)?, None))
    }

    /// The keys at a URL (`jwks_uri`), whose server is known by its host name under these authorities. Fetched when the first token
    /// comes, when they are older than a quarter of an hour, and when a token names a key they do not hold; never more than once in a
    /// minute.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn at(
        url: crate::source::EndpointUrl,
        roots: &crate::source::WebRoots,
    ) -> Result<Self, crate::own::SetupError> {
        Self::by(url, roots, Arc::new(crate::clock::SystemClock))
    }

    /// The same by another clock than the machine's.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn by(
        url: crate::source::EndpointUrl,
        roots: &crate::source::WebRoots,
        clock: Arc<dyn countersign_identity::Clock>,
    ) -> Result<Self, crate::own::SetupError> {
        let page = crate::source::WebPage::new(url, roots, &clock)?;
        Ok(Self::of(TokenKeys::default(), Some(page)))
    }

    fn of(held: TokenKeys, page: Option<crate::source::WebPage>) -> Self {
        let keys = Keys { held: ArcSwap::from_pointee(held), looks: Mutex::default(), page };
        Self { keys: Arc::new(keys), limit: HardLimit::default() }
    }

    /// How long to go on with the keys fetched last, counted from then; default a day. Nothing to those given once.
    #[must_use]
    pub fn hard_limit(self, limit: HardLimit) -> Self {
        Self { limit, ..self }
    }

    pub(super) fn held(&self) -> Arc<TokenKeys> {
        self.keys.held.load_full()
    }

    /// Whether what is held was had too long ago to judge by, or never.
    pub(super) fn are_over(&self, now: Timestamp) -> bool {
        let last = || self.looks().good;
        self.is_fetched() && last().is_none_or(|good| now > self.limit.end(good))
    }

    /// Whether a look now is allowed, and could bring anything.
    pub(super) fn may_look_again(&self, now: Timestamp) -> bool {
        self.is_fetched() && self.looks().is_due(now, FLOOR)
    }

    /// Whether the set is too old to be relied on without a look.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        let looks = self.looks();
        let old = looks.good.is_none_or(|good| now.since(good) >= OLD);
        self.is_fetched() && old && looks.is_due(now, FLOOR)
    }

    /// Looks at the page; what was held stays if that comes to nothing. Of several at once, one looks.
    pub(super) async fn look(&self, now: Timestamp) {
        let Some(page) = &self.keys.page else { return };
        {
            let mut looks = self.keys.looks.lock().unwrap_or_else(PoisonError::into_inner);
            if !looks.is_due(now, FLOOR) {
                return;
            }
            looks.last = Some(now);
        }
        let read = |octets: Vec<u8>| TokenKeys::read(&octets).map_err(|fault| fault.to_string());
        match page.fetch().await.and_then(read) {
            Ok(keys) => {
                self.keys.held.store(Arc::new(keys));
                self.keys.looks.lock().unwrap_or_else(PoisonError::into_inner).good = Some(now);
            }
            Err(fault) => tracing::warn!(url = %page, fault, "keys of an authorization server not had"),
        }
    }

    fn is_fetched(&self) -> bool {
        self.keys.page.is_some()
    }

    fn looks(&self) -> Looks {
        *self.keys.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looks {
    fn is_due(self, now: Timestamp, floor: Duration) -> bool {
        // A clock set back is no reason never to look again.
        self.last.is_none_or(|last| now.since(last) >= floor || now < last)
    }
}

impl fmt::Debug for ForeignKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignKeys").field("looks", &self.looks()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_once_in_a_minute_and_after_a_clock_was_set_back() {
        let noon = Timestamp::from_unix(1_795_435_200);
        let looks = Looks { last: Some(noon), good: None };
        assert!(Looks::default().is_due(noon, FLOOR));
        assert!(!looks.is_due(noon + Duration::from_secs(59), FLOOR));
        assert!(looks.is_due(noon + FLOOR, FLOOR));
        assert!(looks.is_due(noon - Duration::from_secs(1), FLOOR));
    }

    #[test]
    fn keys_given_once_are_never_looked_at_again() {
        let keys = ForeignKeys::fixed(br#"{"keys":[]}"#).expect("a set");
        let noon = Timestamp::from_unix(1_795_435_200);
        assert!(!keys.may_look_again(noon) && !keys.is_old(noon));
    }
}

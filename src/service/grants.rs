//! What is written down of tokens granted: the first of an hour in full and before it leaves, the others as a count. So an
//! event tells who gets tokens for what, and the disk does not grow with each token.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use countersign_identity::{SpiffeId, Timestamp};
use countersign_issuance::Source;
use countersign_store::Event;

use super::{Ca, Client, Refused};

/// One window of counting. A holder that renews its token every few minutes leaves two events an hour.
const WINDOW: Duration = Duration::from_hours(1);
/// Past this many kinds of grants in one window, further ones are counted together, without the identity.
const MOST: usize = 100_000;

/// Who was granted (nobody in particular: all for whom there was no room), for what, and how they proved themselves.
type Kind = (Option<SpiffeId>, String, &'static str);

/// How often something was granted in the window that is open.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Timestamp>,
    seen: HashMap<Kind, Seen>,
}

/// What is known of one kind of grants in the window that is open.
#[derive(Debug, Default)]
struct Seen {
    /// Its first event is durable. Until then whoever comes writes one too: no token leaves without.
    told: bool,
    /// How many came after that.
    repeats: u64,
}

impl Tally {
    /// Counts a grant; whether it must be told before it leaves, because no other of its kind has been in this window.
    fn count(&self, kind: Kind, now: Timestamp) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.began.get_or_insert(now);
        let room = window.seen.len() < MOST;
        let kind = match window.seen.contains_key(&kind) || room {
            true => kind,
            false => (None, kind.1, kind.2),
        };
        let together = kind.0.is_none();
        let seen = window.seen.entry(kind).or_default();
        if !seen.told && !together {
            return true;
        }
        seen.repeats = seen.repeats.saturating_add(1);
        false
    }

    /// The first event of a kind is durable.
    fn told(&self, kind: &Kind) {
        if let Some(seen) = self.0.lock().unwrap_or_else(PoisonError::into_inner).seen.get_mut(kind) {
            seen.told = true;
        }
    }

    /// What was granted again in a window that is over at `now`.
    fn close(&self, now: Timestamp) -> Vec<(Kind, u64)> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match window.began {
            Some(began) if now.since(began) >= WINDOW || now < began => repeated(&mut window),
            _ => Vec::new(),
        }
    }

    /// What was granted again in the window that is open; a new one begins.
    fn cut(&self) -> Vec<(Kind, u64)> {
        repeated(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn repeated(window: &mut Window) -> Vec<(Kind, u64)> {
    let seen = mem::take(window).seen.into_iter();
    seen.map(|(kind, seen)| (kind, seen.repeats)).filter(|(_, repeats)| *repeats > 0).collect()
}

impl Ca {
    /// Writes down that a token is granted, before it leaves.
    ///
    /// # Errors
    /// When the book takes no writes.
    pub(super) async fn note_grant(
        &self,
        client: &Client,
        service: &str,
        scope: &str,
        source: Source,
    ) -> Result<(), Refused> {
        let kind = (Some(client.id.clone()), service.to_owned(), client.method());
        self.metrics().count_token(client.method());
        let now = self.now();
        if !self.grants.count(kind.clone(), now) {
            return Ok(());
        }
        let event = granted(&kind, now).text("scope", scope);
        let event = match source.addr {
            Some(address) => event.personal("source", address),
            None => event,
        };
        self.book().append_events(vec![event]).await?;
        self.grants.told(&kind);
        Ok(())
    }

    /// Writes down how often what was granted in the last hour was granted again.
    pub(super) async fn close_tallies(&self, now: Timestamp) {
        self.write_repeats(self.grants.close(now), now).await;
    }

    /// Writes down what is only counted so far: the CA stops.
    pub async fn write_counts(&self) {
        self.write_repeats(self.grants.cut(), self.now()).await;
        self.write_key_uses().await;
    }

    async fn write_repeats(&self, repeated: Vec<(Kind, u64)>, now: Timestamp) {
        if repeated.is_empty() {
            return;
        }
        let events = repeated.iter().map(|(kind, repeats)| granted(kind, now).number("repeats", *repeats));
        if let Err(error) = self.book().append_events(events.collect()).await {
            tracing::error!(%error, "how often tokens were granted was not written down");
        }
    }

    /// Writes down that the authorization server refused; `kind` says what. What is written of one subject is bounded.
    /// `who` is known only if it was proven, and strangers share one budget.
    pub async fn note_refusal(
        &self,
        kind: &'static str,
        who: Option<&SpiffeId>,
        service: Option<&str>,
        error: &'static str,
        source: Source,
    ) {
        self.metrics().count_refused(error);
        let subject = who.map_or_else(|| format!("{kind}: strangers"), |id| format!("{kind}: {id}"));
        if !self.rates().refusal_counts(&subject) {
            return;
        }
        let mut event = Event::new(kind, self.now()).text("error", error);
        if let Some(id) = who {
            event = event.text("spiffe_id", id);
        }
        if let Some(service) = service {
            event = event.text("service", service);
        }
        if let Some(address) = source.addr {
            event = event.personal("source", address);
        }
        if let Err(failed) = self.book().append_events(vec![event]).await {
            tracing::warn!(error = %failed, kind, "a refusal was not written down");
        }
    }
}

fn granted((id, service, method): &Kind, now: Timestamp) -> Event {
    let event = Event::new("token.granted", now).text("service", service).text("method", method);
    match id {
        Some(id) => event.text("spiffe_id", id),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(service: &str) -> Kind {
        (Some("spiffe://td/a".parse().unwrap()), service.to_owned(), "certificate")
    }

    #[test]
    fn the_first_of_a_window_is_told_apart_and_the_others_are_counted() {
        let (tally, start) = (Tally::default(), Timestamp::from_unix(1_000_000));
        assert!(tally.count(kind("ledger"), start));
        tally.told(&kind("ledger"));
        assert!(!tally.count(kind("ledger"), start) && !tally.count(kind("ledger"), start));
        assert!(tally.count(kind("other"), start));
        assert_eq!(tally.close(start + WINDOW - Duration::from_secs(1)), []);
        assert_eq!(tally.close(start + WINDOW), [(kind("ledger"), 2)]);
        assert!(tally.count(kind("ledger"), start + WINDOW));
    }

    #[test]
    fn until_the_first_is_durable_each_is_told() {
        let (tally, start) = (Tally::default(), Timestamp::from_unix(1_000_000));
        assert!(tally.count(kind("ledger"), start) && tally.count(kind("ledger"), start));
        tally.told(&kind("ledger"));
        assert!(!tally.count(kind("ledger"), start));
        assert_eq!(tally.cut(), [(kind("ledger"), 1)], "those that were told are not counted again");
        tally.told(&kind("ledger"));
        assert!(tally.count(kind("ledger"), start), "a window that is over has told nothing of the next");
    }

    #[test]
    fn those_for_whom_there_is_no_room_are_counted_together() {
        let (tally, start) = (Tally::default(), Timestamp::from_unix(1_000_000));
        for n in 0..MOST {
            assert!(tally.count(kind(&n.to_string()), start));
        }
        for service in ["ledger", "ledger", "post"] {
            assert!(!tally.count(kind(service), start));
        }
        let mut left = tally.cut();
        left.sort();
        let others = |service: &str, many| ((None, service.to_owned(), "certificate"), many);
        assert_eq!(left, [others("ledger", 2), others("post", 1)]);
    }

    #[test]
    fn a_window_that_began_in_the_future_is_over() {
        let (tally, start) = (Tally::default(), Timestamp::from_unix(1_000_000));
        tally.count(kind("ledger"), start);
        tally.told(&kind("ledger"));
        tally.count(kind("ledger"), start);
        assert_eq!(tally.close(Timestamp::from_unix(999_999)).len(), 1);
    }
}

//! Who is connected from where, so that one flooding source stays in its own queue.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// The sources with open connections, held to the limits as they stand.
#[derive(Debug)]
pub(super) struct Sources {
    open: Mutex<Open>,
    handshakes: Mutex<Turns>,
    limits: Arc<ArcSwap<Limits>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_source: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Source {
    connections: usize,
    handshakes: Arc<Semaphore>,
}

/// As many handshakes at once as the limit said when this was made.
#[derive(Debug)]
struct Turns {
    limit: usize,
    semaphore: Arc<Semaphore>,
}

impl Turns {
    fn new(limit: usize) -> Self {
        let permits = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self { limit, semaphore: Arc::new(Semaphore::new(permits)) }
    }
}

/// One open connection; dropping it gives its place back.
#[derive(Debug)]
pub(super) struct Place {
    sources: Arc<Sources>,
    source: IpAddr,
    handshakes: Arc<Semaphore>,
}

/// Leave to do one handshake.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Sources {
    pub(super) fn new(limits: Arc<ArcSwap<Limits>>) -> Arc<Self> {
        let turns = Turns::new(limits.load().handshakes);
        Arc::new(Self { open: Mutex::default(), handshakes: Mutex::new(turns), limits })
    }

    /// A place for a connection from this address; none when the listener or the source has too many.
    pub(super) fn admit(self: &Arc<Self>, addr: IpAddr) -> Option<Place> {
        let limits = self.limits.load();
        let source = source_of(addr);
        let mut open = self.lock();
        if open.total >= limits.connections {
            return None;
        }
        let own = open.by_source.entry(source).or_insert_with(|| Source {
            connections: 0,
            handshakes: Turns::new(limits.handshakes_per_source).semaphore,
        });
        if own.connections >= limits.connections_per_source {
            return None;
        }
        own.connections += 1;
        let handshakes = Arc::clone(&own.handshakes);
        open.total += 1;
        Some(Place { sources: Arc::clone(self), source, handshakes })
    }

    /// Everybody's queue; a new one once the limit has changed, while those in the old one go on.
    fn turns(&self) -> Arc<Semaphore> {
        let limit = self.limits.load().handshakes;
        let mut turns = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.limit != limit {
            *turns = Turns::new(limit);
        }
        Arc::clone(&turns.semaphore)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for leave to do the handshake: first in the source's own queue, then in everybody's.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let own = Arc::clone(&self.handshakes).acquire_owned().await.ok()?;
        let all = self.sources.turns().acquire_owned().await.ok()?;
        Some(Turn { _own: own, _all: all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sources.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(own) = open.by_source.get_mut(&self.source) {
            own.connections = own.connections.saturating_sub(1);
            if own.connections == 0 {
                open.by_source.remove(&self.source);
            }
        }
    }
}

/// IPv6 hosts choose freely within their /64, so that is what counts as one source.
fn source_of(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(connections: usize, per_source: usize) -> Arc<Sources> {
        of_limits(Limits { connections, connections_per_source: per_source, ..Limits::default() })
    }

    fn of_limits(limits: Limits) -> Arc<Sources> {
        Sources::new(Arc::new(ArcSwap::from_pointee(limits)))
    }

    #[test]
    fn a_changed_limit_holds_for_the_next_connection() {
        let limits = Arc::new(ArcSwap::from_pointee(Limits { connections: 1, ..Limits::default() }));
        let sources = Sources::new(Arc::clone(&limits));
        let addr: IpAddr = "192.0.2.1".parse().expect("an address");
        let _first = sources.admit(addr).expect("a place");
        assert!(sources.admit(addr).is_none());
        limits.store(Arc::new(Limits { connections: 2, handshakes: 3, ..Limits::default() }));
        assert!(sources.admit(addr).is_some());
        assert_eq!(sources.turns().available_permits(), 3);
    }

    #[test]
    fn one_source_cannot_take_every_place() {
        // Invariant 10.
        let sources = sources(3, 2);
        let flood: IpAddr = "192.0.2.1".parse().expect("an address");
        let held = [sources.admit(flood), sources.admit(flood)];
        assert!(held.iter().all(Option::is_some));
        assert!(sources.admit(flood).is_none());
        assert!(sources.admit("192.0.2.2".parse().expect("an address")).is_some());
    }

    #[test]
    fn a_closed_connection_gives_its_place_back_and_leaves_no_trace() {
        let sources = sources(1, 1);
        let addr: IpAddr = "192.0.2.1".parse().expect("an address");
        let place = sources.admit(addr);
        assert!(sources.admit(addr).is_none());
        drop(place);
        assert!(sources.lock().by_source.is_empty());
        assert!(sources.admit(addr).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let of = |text: &str| source_of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[tokio::test]
    async fn waiting_handshakes_of_one_source_do_not_hold_up_another() {
        let sources = of_limits(Limits { handshakes: 2, handshakes_per_source: 1, ..Limits::default() });
        let flood: IpAddr = "192.0.2.1".parse().expect("an address");
        let places = [sources.admit(flood).expect("a place"), sources.admit(flood).expect("a place")];
        let _busy = places[0].turn().await;
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), places[1].turn()).await;
        assert!(waits.is_err(), "the source has one turn at a time");
        let other = sources.admit("192.0.2.2".parse().expect("an address")).expect("a place");
        assert!(other.turn().await.is_some());
    }
}

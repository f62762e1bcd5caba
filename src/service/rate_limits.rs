//! Rates that one source or one machine may not exceed (invariant 10): a flood costs its sender, nobody else.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, time::Duration};

use countersign_identity::{MachineId, SpiffeId};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use crate::config::Limits;

/// Past this many keys the idle ones are forgotten at once instead of at the next sweep.
const MOST_KEYS: usize = 100_000;

/// Refused attempts of one subject that are written down; the rest is counted in the metrics.
const REFUSALS_A_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Tokens and keys that one identity may end in a minute: each is a change of trust for every service. Whoever must end more
/// revokes the machine, or the identity's certificates, in one.
const WITHDRAWALS_A_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// Reads of trust that count as one request: answers lie ready in memory, and a rack of services behind one address reads
/// the list of revocations, some hundred parts, all at the same moment.
const READS_FOR_ONE: u32 = 50;

/// The rates in force.
pub struct RateLimits {
    sources: DefaultKeyedRateLimiter<IpAddr>,
    readers: DefaultKeyedRateLimiter<IpAddr>,
    machines: DefaultKeyedRateLimiter<MachineId>,
    tokens: DefaultKeyedRateLimiter<SpiffeId>,
    assertions: DefaultKeyedRateLimiter<SpiffeId>,
    withdrawals: DefaultKeyedRateLimiter<SpiffeId>,
    refusals: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl std::fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimits").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

impl RateLimits {
    /// The rates `limits` asks for, with nobody counted yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let source = Quota::per_second(at_least_one(limits.requests_per_second_per_source))
            .allow_burst(at_least_one(limits.burst_per_source));
        let many = |limit: u32| at_least_one(limit.saturating_mul(READS_FOR_ONE));
        let reader = Quota::per_second(many(limits.requests_per_second_per_source))
            .allow_burst(many(limits.burst_per_source));
        let machine = Quota::per_minute(at_least_one(limits.renewals_per_minute_per_machine));
        let token = Quota::per_second(at_least_one(limits.tokens_per_second_per_identity));
        Self {
            sources: RateLimiter::keyed(source),
            readers: RateLimiter::keyed(reader),
            machines: RateLimiter::keyed(machine),
            tokens: RateLimiter::keyed(token),
            assertions: RateLimiter::keyed(token),
            withdrawals: RateLimiter::keyed(Quota::per_minute(WITHDRAWALS_A_MINUTE)),
            refusals: RateLimiter::keyed(Quota::per_minute(REFUSALS_A_MINUTE)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one request of `source`.
    ///
    /// # Errors
    /// How long it should wait.
    pub fn source(&self, source: IpAddr) -> Result<(), Duration> {
        self.check(&self.sources, &network_of(source))
    }

    /// Counts one read of trust by `source`.
    ///
    /// # Errors
    /// How long it should wait.
    pub fn reader(&self, source: IpAddr) -> Result<(), Duration> {
        self.check(&self.readers, &network_of(source))
    }

    /// Counts one renewal of a machine that is entitled to it. By machine, not by identity: neither a replaced holder of
    /// the same identity nor a large fleet of it can use up another's.
    ///
    /// # Errors
    /// How long it should wait.
    pub fn machine(&self, id: MachineId) -> Result<(), Duration> {
        self.check(&self.machines, &id)
    }

    /// Counts one access token of an identity.
    ///
    /// # Errors
    /// How long it should wait.
    pub fn token(&self, id: &SpiffeId) -> Result<(), Duration> {
        self.check(&self.tokens, id)
    }

    /// Counts one assertion of an identity that proved it: each must be remembered for a minute, and none of them may use up
    /// the room of the others.
    ///
    /// # Errors
    /// How long it should wait.
    pub fn assertion(&self, id: &SpiffeId) -> Result<(), Duration> {
        self.check(&self.assertions, id)
    }

    /// Counts one token or key that an identity ends before its time.
    ///
    /// # Errors
    /// How long it should wait.
    pub fn withdrawal(&self, id: &SpiffeId) -> Result<(), Duration> {
        self.check(&self.withdrawals, id)
    }

    /// Whether one more refused attempt under this serial or invitation is worth a write. A budget of its own: refused
    /// attempts never use up anybody's renewals.
    #[must_use]
    pub fn refusal_counts(&self, subject: &str) -> bool {
        self.check(&self.refusals, &subject.to_owned()).is_ok()
    }

    /// Forgets those who have been quiet long enough to have their whole burst again.
    pub fn sweep(&self) {
        self.sources.retain_recent();
        self.readers.retain_recent();
        self.machines.retain_recent();
        self.tokens.retain_recent();
        self.assertions.retain_recent();
        self.withdrawals.retain_recent();
        self.refusals.retain_recent();
    }

    fn check<K: Hash + Eq + Clone>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
    ) -> Result<(), Duration> {
        if limiter.len() > MOST_KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|refused| refused.wait_time_from(self.clock.now()))
    }
}

fn at_least_one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

/// One IPv6 subscriber holds a /64 and could otherwise be as many sources as it likes.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flooding_source_is_told_to_wait_and_another_is_not() {
        let mut limits = crate::config::Config::parse("trust_domain = \"td\"", "x".as_ref()).unwrap().limits;
        limits.burst_per_source = 3;
        let rates = RateLimits::new(&limits);
        let flood: IpAddr = "127.0.0.1".parse().unwrap();
        let refused = (0..10).filter(|_| rates.source(flood).is_err()).count();
        assert_eq!(refused, 7);
        assert!(rates.source("127.0.0.2".parse().unwrap()).is_ok());
    }

    #[test]
    fn an_identity_ends_thirty_tokens_in_a_minute_and_another_as_many() {
        let limits = crate::config::Config::parse("trust_domain = \"td\"", "x".as_ref()).unwrap().limits;
        let rates = RateLimits::new(&limits);
        let [one, other] = ["spiffe://td/a", "spiffe://td/b"].map(|id| id.parse().unwrap());
        assert_eq!((0..100).filter(|_| rates.withdrawal(&one).is_ok()).count(), 30);
        assert!(rates.withdrawal(&other).is_ok());
    }

    #[test]
    fn the_addresses_of_one_ipv6_subscriber_are_one_source() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:1".parse().unwrap();
        assert_eq!(network_of(a), network_of(b));
        assert_eq!(network_of("::ffff:127.0.0.1".parse().unwrap()), "127.0.0.1".parse::<IpAddr>().unwrap());
    }
}

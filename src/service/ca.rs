//! The running CA: what every use case needs, opened once from a configuration.

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use countersign_identity::{Clock, Serial, Timestamp, TrustDomain, Validity};
use countersign_issuance::{House, ReservedNames};
use countersign_store::Store;
use rustls_pki_types::SignatureVerificationAlgorithm;
use zeroize::Zeroizing;

use super::{
    KeySet, Metrics, Profiles, RateLimits, StartError,
    api_keys::{KeyUses, open_hasher},
    book::open_book,
    calendar::Calendar,
    grants::Tally,
    handing_on::HandingOn,
    policy::Compiled,
    publisher::Published,
    replays::Replays,
    root_hand::unlock_secret,
    token_ring::TokenRing,
};
use crate::{
    config::{Config, Limits, StateDir},
    signer::{Entropy, KeyHasher},
};

/// What comes from outside: time, randomness, and the signatures this build can check.
#[derive(Clone, Debug)]
pub struct World {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Entropy,
    /// How requests may be signed.
    pub algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

/// One CA. Cheap to share; everything that a reload changes is swapped whole.
pub struct Ca {
    world: World,
    trust_domain: TrustDomain,
    url: String,
    state: StateDir,
    unlock: Zeroizing<Vec<u8>>,
    reserved: ReservedNames,
    book: Arc<dyn Store>,
    keys: ArcSwap<KeySet>,
    config: ArcSwap<Config>,
    profiles: ArcSwap<Profiles>,
    rates: ArcSwap<RateLimits>,
    metrics: Arc<Metrics>,
    published: Published,
    started: Timestamp,
    pub(super) server_validity: ArcSwap<Option<Validity>>,
    pub(super) announced: AtomicU64,
    /// Since when the clock has been watched, by the machine's own measure and by the clock.
    pub(super) watched: Mutex<(Instant, Timestamp)>,
    /// Held while a policy is compared and applied, so that nothing comes between.
    pub(super) applying: tokio::sync::Mutex<()>,
    pub(super) compiled: ArcSwapOption<Compiled>,
    pub(super) grants: Tally,
    pub(super) handing_on: HandingOn,
    hasher: KeyHasher,
    pub(super) key_uses: KeyUses,
    pub(super) replays: Replays,
    pub(super) calendar: Mutex<Calendar>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Ca {
    /// Opens keys, profiles and book as `config` says.
    ///
    /// # Errors
    /// Names the file or directory, what is wrong with it and what to do.
    pub fn open(config: Config, world: World) -> Result<Self, StartError> {
        let now = world.clock.now();
        config.state.clear_leftovers();
        let unlock = unlock_secret(&config.state)?;
        let keys = KeySet::open(&config.state, &config.trust_domain, &unlock, now)?;
        let profiles = Profiles::load(&config.profiles)?;
        let hasher = open_hasher(&config.state, &unlock, &world.entropy)?;
        let metrics = Arc::new(Metrics::default());
        let book = open_book(&config, &world, Arc::clone(&metrics) as _)?;
        Ok(Self {
            trust_domain: config.trust_domain.clone(),
            url: config.url.clone(),
            state: config.state.clone(),
            unlock,
            reserved: super::reserved::names_of(&config)?,
            book,
            keys: ArcSwap::from_pointee(keys),
            rates: ArcSwap::from_pointee(RateLimits::new(&config.limits)),
            config: ArcSwap::from_pointee(config),
            profiles: ArcSwap::from_pointee(profiles),
            metrics,
            published: Published::default(),
            started: now,
            server_validity: ArcSwap::from_pointee(None),
            announced: AtomicU64::new(u64::MAX),
            watched: Mutex::new((Instant::now(), now)),
            applying: tokio::sync::Mutex::new(()),
            compiled: ArcSwapOption::empty(),
            grants: Tally::default(),
            handing_on: HandingOn::default(),
            hasher,
            key_uses: KeyUses::default(),
            replays: Replays::default(),
            calendar: Mutex::default(),
            world,
        })
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What invitations carry.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Who gives access tokens, exactly as tokens and metadata name it (RFC 8414 §2).
    #[must_use]
    pub fn token_issuer(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// Now, by the injected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// The injected clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.world.clock
    }

    /// Since when this process serves.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// What the CA counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The rates in force.
    #[must_use]
    pub fn rates(&self) -> Arc<RateLimits> {
        self.rates.load_full()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.config.load().limits.clone()
    }

    /// The keys in force.
    #[must_use]
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// The profiles in force.
    #[must_use]
    pub fn profiles(&self) -> Arc<Profiles> {
        self.profiles.load_full()
    }

    pub(super) fn book(&self) -> &dyn Store {
        &*self.book
    }

    pub(super) fn algorithms(&self) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
        self.world.algorithms
    }

    pub(super) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    pub(super) fn entropy(&self) -> &Entropy {
        &self.world.entropy
    }

    pub(super) fn state(&self) -> &StateDir {
        &self.state
    }

    pub(super) fn reserved(&self) -> &ReservedNames {
        &self.reserved
    }

    pub(super) fn unlock(&self) -> &[u8] {
        &self.unlock
    }

    pub(super) fn new_serial(&self) -> Serial {
        Serial::from_random(self.world.entropy.octets())
    }

    /// The house as issuance wants to see it.
    pub(super) fn house<'a>(&'a self, keys: &'a KeySet) -> House<'a> {
        House {
            trust_domain: &self.trust_domain,
            issuer: keys.issuer(),
            ca_keys: keys.ca_keys(),
            reserved: &self.reserved,
        }
    }

    pub(super) fn adopt_keys(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
        self.published.sign_anew();
    }

    /// Another issuer may be taken up at the same moment: neither change loses the other.
    pub(super) fn adopt_token_ring(&self, ring: &Arc<TokenRing>) {
        self.keys.rcu(|keys| keys.with_token_ring(Arc::clone(ring)));
        self.published.sign_anew();
    }

    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    pub(super) fn adopt(&self, config: Config, profiles: Profiles) {
        // Buckets start full again: a reload is rare, and a limit that changed must bind at once.
        if self.config.load().limits != config.limits {
            self.rates.store(Arc::new(RateLimits::new(&config.limits)));
        }
        self.profiles.store(Arc::new(profiles));
        self.config.store(Arc::new(config));
    }
}

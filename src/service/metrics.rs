//! What the CA counts, in the OpenMetrics text format. No label ever carries an identity or an address.

use std::{fmt::Write as _, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Labels of issued certificates.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct IssuedLabels {
    /// `enroll`, `renew` or `own`.
    pub door: &'static str,
}

/// Labels of access tokens.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct TokenLabels {
    /// How the client proved who it is.
    pub method: &'static str,
}

/// Labels of refusals.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RefusedLabels {
    /// The problem code.
    pub code: &'static str,
}

/// Labels of requests.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RouteLabels {
    /// The route as it is declared, never as it was asked for.
    pub route: &'static str,
}

/// Labels of handshakes.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct GroupLabels {
    /// The key-exchange group.
    pub group: &'static str,
}

/// A gauge of seconds.
pub(super) type Seconds = Gauge<f64, AtomicU64>;

/// Every metric of one CA process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Certificates issued.
    pub issued: Family<IssuedLabels, Counter>,
    /// Access tokens granted.
    pub tokens: Family<TokenLabels, Counter>,
    /// Requests refused.
    pub refused: Family<RefusedLabels, Counter>,
    /// Time to answer a request.
    pub latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// TLS handshakes completed.
    pub handshakes: Family<GroupLabels, Counter>,
    /// Connections open now.
    pub connections: Gauge,
    /// Time to apply and sync one group of the book's commands.
    pub store_group: Histogram,
    /// Commands in one group.
    pub store_commands: Histogram,
    /// 1 when the book takes no writes.
    pub store_read_only: Gauge,
    /// 1 when old events do not leave the book.
    pub archive_failing: Gauge,
    /// Events ever.
    pub events: Gauge,
    /// Those of them that are in the archive.
    pub events_archived: Gauge,
    /// Machines that are active.
    pub machines: Gauge,
    /// Certificates that have not expired.
    pub certificates: Gauge,
    /// Certificates that end within ten minutes.
    pub expiring_soon: Gauge,
    /// Time until the signing issuer ends.
    pub issuer_left: Seconds,
    /// Time until the CA's own server certificate ends.
    pub server_left: Seconds,
    /// The trust sequence that is published.
    pub trust_sequence: Gauge,
    /// How old the published trust snapshot is.
    pub trust_age: Seconds,
    /// Readers that wait for a newer trust snapshot.
    pub trust_waiting: Gauge,
    /// Time to read and sign one trust snapshot.
    pub trust_snapshot: Histogram,
}

fn latency() -> Histogram {
    // 100 µs to 13 s, each twice the one before.
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("countersign"),
            issued: Family::default(),
            tokens: Family::default(),
            refused: Family::default(),
            latency: Family::new_with_constructor(latency),
            handshakes: Family::default(),
            connections: Gauge::default(),
            store_group: latency(),
            store_commands: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            store_read_only: Gauge::default(),
            archive_failing: Gauge::default(),
            events: Gauge::default(),
            events_archived: Gauge::default(),
            machines: Gauge::default(),
            certificates: Gauge::default(),
            expiring_soon: Gauge::default(),
            issuer_left: Seconds::default(),
            server_left: Seconds::default(),
            trust_sequence: Gauge::default(),
            trust_age: Seconds::default(),
            trust_waiting: Gauge::default(),
            trust_snapshot: Histogram::new(exponential_buckets(0.001, 2.0, 12)),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("issued", "Certificates issued, by door", self.issued.clone());
        r.register("tokens", "Access tokens granted, by client authentication", self.tokens.clone());
        r.register("refused", "Requests refused, by problem code", self.refused.clone());
        r.register_with_unit("request", "Time to answer a request", Unit::Seconds, self.latency.clone());
        r.register("handshakes", "TLS handshakes, by key-exchange group", self.handshakes.clone());
        r.register("connections", "Connections open now", self.connections.clone());
        r.register_with_unit(
            "store_group",
            "Time to apply and sync one group of commands",
            Unit::Seconds,
            self.store_group.clone(),
        );
        r.register("store_group_commands", "Commands in one group", self.store_commands.clone());
        r.register("store_read_only", "1 when the book takes no writes", self.store_read_only.clone());
        r.register("machines", "Machines that are active", self.machines.clone());
        r.register("certificates", "Certificates that have not expired", self.certificates.clone());
        r.register("expiring_soon", "Certificates that end within ten minutes", self.expiring_soon.clone());
        r.register_with_unit(
            "issuer_left",
            "Time until the issuer ends",
            Unit::Seconds,
            self.issuer_left.clone(),
        );
        r.register_with_unit(
            "server_certificate_left",
            "Time until the CA's server certificate ends",
            Unit::Seconds,
            self.server_left.clone(),
        );
        self.register_events();
        self.register_trust();
    }

    fn register_events(&mut self) {
        let r = &mut self.registry;
        r.register(
            "archive_failing",
            "1 when old events do not leave the book",
            self.archive_failing.clone(),
        );
        r.register("events", "Events ever", self.events.clone());
        r.register("events_archived", "Events that are in the archive", self.events_archived.clone());
    }

    fn register_trust(&mut self) {
        let r = &mut self.registry;
        r.register("trust_sequence", "The trust sequence that is published", self.trust_sequence.clone());
        r.register_with_unit(
            "trust_age",
            "Time since the trust snapshot was signed",
            Unit::Seconds,
            self.trust_age.clone(),
        );
        r.register("trust_waiting", "Readers that wait for newer trust", self.trust_waiting.clone());
        r.register_with_unit(
            "trust_snapshot",
            "Time to read and sign one trust snapshot",
            Unit::Seconds,
            self.trust_snapshot.clone(),
        );
    }

    /// One certificate was issued through `door`.
    pub fn count_issued(&self, door: &'static str) {
        self.issued.get_or_create(&IssuedLabels { door }).inc();
    }

    /// One access token was granted to a client that proved itself by `method`.
    pub fn count_token(&self, method: &'static str) {
        self.tokens.get_or_create(&TokenLabels { method }).inc();
    }

    /// One handshake was completed with the key-exchange `group`.
    pub fn count_handshake(&self, group: &'static str) {
        self.handshakes.get_or_create(&GroupLabels { group }).inc();
    }

    /// One request was refused with `code`.
    pub fn count_refused(&self, code: &'static str) {
        self.refused.get_or_create(&RefusedLabels { code }).inc();
    }

    /// One request of `route` took `time`.
    pub fn observe(&self, route: &'static str, time: Duration) {
        self.latency.get_or_create(&RouteLabels { route }).observe(time.as_secs_f64());
    }

    /// Everything, in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a String cannot fail; a scrape that is empty is noticed.
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

impl countersign_store::Observer for Metrics {
    fn group(&self, commands: usize, apply_and_sync: Duration) {
        self.store_group.observe(apply_and_sync.as_secs_f64());
        self.store_commands.observe(f64::from(u32::try_from(commands).unwrap_or(u32::MAX)));
    }

    fn stage(&self, stage: countersign_store::Stage) {
        super::failpoint::pass(stage.into());
    }
}

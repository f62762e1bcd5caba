//! The publisher: follows the book and keeps the trust snapshot that everybody is shown, built once for each change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_api::trust::IssuersPart;
use countersign_identity::{Timestamp, hex};
use countersign_issuance::IssuerCertificate;
use countersign_store::{IssuerRecord, IssuerState, PolicyRecord, Relisted, TrustState};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, watch};

use super::{
    Ca, Refused,
    parts::{Part, Shelf},
    revoked_list::{IssuerIds, RevokedList},
    snapshot::{Content, Snapshot},
    withdrawn_parts::WithdrawnParts,
};

/// The policy of a CA that has none: nobody may do anything.
const NO_POLICY: &str = "version = 1\n";
/// Revoked serials read in one look at the book.
const PAGE: usize = 4096;
/// Between two snapshots, at least: what comes in between goes out together.
const PACE: Duration = Duration::from_millis(20);
/// How long a reader waits for a snapshot that is just being made; a full list takes a fraction of it.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How often the age of the snapshot is looked at, and what failed is tried again.
const TURN: Duration = Duration::from_secs(20);

/// What is published, and who waits for it.
#[derive(Debug)]
pub(super) struct Published {
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    closing: watch::Sender<bool>,
    signer_changed: Notify,
    /// Lines of the list that ended before this moment (Unix seconds) may go.
    ended: AtomicI64,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            newest: watch::Sender::new(None),
            closing: watch::Sender::new(false),
            signer_changed: Notify::new(),
            ended: AtomicI64::new(i64::MIN),
        }
    }
}

impl Published {
    /// Another trust signer signs from now on.
    pub(super) fn sign_anew(&self) {
        self.signer_changed.notify_one();
    }

    /// What ended before `moment` has left the book.
    pub(super) fn forget_ended(&self, moment: Timestamp) {
        self.ended.store(moment.unix(), Ordering::Relaxed);
    }
}

impl Ca {
    /// The trust snapshot; `None` as long as none could be made.
    #[must_use]
    pub fn trust(&self) -> Option<Arc<Snapshot>> {
        self.published().newest.borrow().clone()
    }

    /// The trust snapshot that shows everything that was durable when it was asked for: who has revoked something and asks
    /// next finds it. Only if it cannot be made in time, the one before.
    pub async fn trust_now(&self) -> Option<Arc<Snapshot>> {
        let durable = *self.book().trust_sequence().borrow();
        match self.trust() {
            Some(snapshot) if snapshot.sequence() < durable => self.trust_after(durable - 1, CATCH_UP).await,
            newest => newest,
        }
    }

    /// The trust snapshot, as soon as its sequence is greater than `after`; after `patience`, or when the CA stops, the one
    /// there is.
    pub async fn trust_after(&self, after: u64, patience: Duration) -> Option<Arc<Snapshot>> {
        let (mut newest, mut closing) =
            (self.published().newest.subscribe(), self.published().closing.subscribe());
        let newer = |snapshot: &Option<Arc<Snapshot>>| {
            snapshot.as_ref().is_some_and(|snapshot| snapshot.sequence() > after)
        };
        let _counted = Waiting::counted_in(&self.metrics().trust_waiting);
        tokio::select! {
            _ = newest.wait_for(newer) => {}
            _ = closing.wait_for(|closing| *closing) => {}
            () = tokio::time::sleep(patience) => {}
        }
        self.trust()
    }

    /// Turns true when the CA stops: whoever is held lets go.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.published().closing.subscribe()
    }

    /// Lets go of those who wait for a newer snapshot: the CA stops.
    pub fn stop_publishing(&self) {
        self.published().closing.send_replace(true);
    }
}

/// Counts one reader for as long as it waits.
struct Waiting(Gauge);

impl Waiting {
    fn counted_in(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Follows the book.
#[derive(Debug, Default)]
pub struct Publisher {
    list: RevokedList,
    withdrawn: WithdrawnParts,
    /// The trust sequence up to which the list is known.
    known: Option<u64>,
    policy: Option<([u8; 32], Arc<Part>)>,
    shelf: Shelf,
    /// The moment before which ended lines were last looked for (Unix seconds).
    forgotten: i64,
}

impl Publisher {
    /// Publishes the first snapshot; one that cannot be made is tried again by [`Publisher::run`].
    pub async fn begin(ca: &Arc<Ca>) -> Self {
        Self::default().turn(ca).await
    }

    /// Publishes whenever trust has changed, until the CA stops.
    pub async fn run(mut self, ca: Arc<Ca>) {
        let mut sequence = ca.book().trust_sequence();
        let mut closing = ca.published().closing.subscribe();
        loop {
            tokio::select! {
                changed = sequence.changed() => if changed.is_err() { return },
                () = ca.published().signer_changed.notified() => {}
                () = tokio::time::sleep(TURN) => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
            sequence.borrow_and_update();
            self = self.turn(&ca).await;
            tokio::time::sleep(PACE).await;
        }
    }

    /// Publishes what the book says now, if that is not what is published.
    async fn turn(self, ca: &Arc<Ca>) -> Self {
        if !is_due(ca) {
            return self;
        }
        let started = Instant::now();
        let reader = Arc::clone(ca);
        // Reading the book and writing parts keeps a thread busy for milliseconds: none of those that answer machines.
        let read = tokio::task::spawn_blocking(move || {
            let mut publisher = self;
            let content = publisher.read(&reader);
            (publisher, content)
        });
        let (mut publisher, content) = match read.await {
            Ok((publisher, Ok(content))) => (publisher, content),
            Ok((publisher, Err(error))) => {
                tracing::error!(%error, "no new trust snapshot: services go on with the one before");
                return publisher;
            }
            Err(error) => {
                tracing::error!(%error, "the publisher stopped at a defect and begins anew");
                return Self::default();
            }
        };
        if let Err(error) = publisher.publish(ca, &content).await {
            tracing::error!(%error, "no new trust snapshot: services go on with the one before");
        }
        ca.metrics().trust_snapshot.observe(started.elapsed().as_secs_f64());
        publisher
    }

    async fn publish(&mut self, ca: &Ca, content: &Content) -> Result<(), Refused> {
        let parts = self.shelf.put_up(&content.parts(), Instant::now()).clone();
        let keys = ca.keys();
        let signer = keys.trust_signer();
        let now = next_second(ca, content.sequence, signer.certificate().epoch).await;
        let validity = signer.certificate().validity;
        if !validity.contains(now) {
            let (from, until) = (validity.not_before(), validity.not_after());
            return Err(Refused::Issuer(format!(
                "the trust signer is good from {from} to {until}, now is {now}: countersign issuer rotate"
            )));
        }
        let snapshot = Snapshot::sign(content, parts, ca.trust_domain(), signer, now).await;
        let snapshot = snapshot.map_err(|error| Refused::File(error.to_string()))?;
        tracing::debug!(sequence = snapshot.sequence(), "trust published");
        ca.published().newest.send_replace(Some(Arc::new(snapshot)));
        Ok(())
    }

    /// What the book says now. Nothing of it is from before its flush: the book shows no more.
    fn read(&mut self, ca: &Ca) -> Result<Content, Refused> {
        let roots = ca.roots_documents()?;
        let state = self.follow(ca)?;
        let ended = ca.published().ended.load(Ordering::Relaxed);
        // Looking through all lines takes as long as publishing a revocation: once for each sweep of the book is enough.
        if std::mem::replace(&mut self.forgotten, ended) != ended {
            self.list.forget_ended(Timestamp::from_unix(ended));
        }
        if !self.withdrawn.are_of(state.withdrawn) {
            self.withdrawn.put(state.withdrawn, &ca.book().withdrawn(ca.now())?);
        }
        let (issuers, ids) = issuers(&state.issuers, ca.now());
        Ok(Content {
            sequence: state.sequence,
            roots,
            issuers,
            revoked: [self.list.parts(&ids), self.withdrawn.parts().to_vec()].concat(),
            policy: self.policy_part(state.policy),
            token_keys: Arc::clone(ca.keys().token_ring().published()),
        })
    }

    /// Takes in what happened to the list since the last look, or the whole list.
    fn follow(&mut self, ca: &Ca) -> Result<TrustState, Refused> {
        let known = match self.known {
            Some(known) => known,
            None => self.read_list(ca)?,
        };
        let mut state = ca.book().trust_state(known)?;
        let Some(changes) = state.relisted.take() else {
            self.known = None;
            return self.follow_anew(ca);
        };
        for change in changes {
            match change {
                Relisted::On(entry) => self.list.put(&entry),
                Relisted::Off(serial) => self.list.take_off(&serial),
            }
        }
        self.known = Some(state.sequence);
        Ok(state)
    }

    /// The changes left the book while we looked away: only a list read from its beginning is sure to be whole.
    fn follow_anew(&mut self, ca: &Ca) -> Result<TrustState, Refused> {
        let known = self.read_list(ca)?;
        let state = ca.book().trust_state(known)?;
        if state.relisted.is_none() {
            return Err(Refused::File("the list of revoked serials changes faster than it is read".into()));
        }
        self.known = Some(known);
        self.follow(ca)
    }

    /// Reads the list page by page; what changes meanwhile is taken in afterwards. No clock decides what is on it.
    fn read_list(&mut self, ca: &Ca) -> Result<u64, Refused> {
        let known = *ca.book().trust_sequence().borrow();
        self.list = RevokedList::default();
        let mut after = None;
        loop {
            let page = ca.book().revoked(Timestamp::from_unix(0), after.as_ref(), PAGE)?;
            page.items.iter().for_each(|entry| self.list.put(entry));
            after = page.next;
            if after.is_none() {
                return Ok(known);
            }
        }
    }

    fn policy_part(&mut self, policy: Option<PolicyRecord>) -> Arc<Part> {
        let (version, text) =
            policy.map_or_else(|| ([0; 32], NO_POLICY.to_owned()), |record| (record.version, record.text));
        match &self.policy {
            Some((known, part)) if *known == version => Arc::clone(part),
            _ => {
                let part = Part::new(text.into_bytes(), "application/toml");
                self.policy = Some((version, Arc::clone(&part)));
                part
            }
        }
    }
}

/// Whether what is published is not what should be.
fn is_due(ca: &Ca) -> bool {
    let Some(snapshot) = ca.trust() else { return true };
    let sequence = *ca.book().trust_sequence().borrow();
    let keys = ca.keys();
    let signer = keys.trust_signer().certificate().key_hash;
    let other_keys = snapshot.signer() != signer || !snapshot.names(keys.token_ring().published());
    snapshot.sequence() < sequence || other_keys || snapshot.is_old(ca.now())
}

/// Now; but a snapshot of the same sequence is never of the same second as the one before, or readers could not tell them
/// apart.
async fn next_second(ca: &Ca, sequence: u64, epoch: u64) -> Timestamp {
    let now = ca.now();
    match ca.trust() {
        Some(before) if (before.epoch(), before.sequence(), before.issued()) == (epoch, sequence, now) => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ca.now()
        }
        _ => now,
    }
}

/// The issuers that certificates may be under now, and the key identifiers of all there ever were.
fn issuers(records: &[IssuerRecord], now: Timestamp) -> (Arc<Part>, IssuerIds) {
    let mut part = IssuersPart::default();
    let mut ids = IssuerIds::new();
    for record in records {
        match IssuerCertificate::parse(&record.der) {
            Ok(issuer) => ids.insert(record.key_hash, hex::encode(issuer.subject_key_id())),
            Err(error) => {
                tracing::error!(%error, issuer = %record.key_hash, "an issuer in the book cannot be read");
                continue;
            }
        };
        if record.state != IssuerState::Revoked && now <= record.not_after {
            part.issuers.push(STANDARD.encode(&record.der));
        }
    }
    // A list of texts always has a JSON form.
    let octets = serde_json::to_vec(&part).unwrap_or_default();
    (Part::new(octets, "application/json"), ids)
}

//! The book on any engine: each method of the contract, handed to the committer or answered from what is durable.

use std::path::Path;
use std::sync::Arc;

use countersign_identity::{ApiKeyId, KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp, Validity};
use countersign_issuance::{BoxFuture, Intent, Ledger, LedgerError, Registration, Source};
use tokio::sync::watch;

use crate::archive::{self, Keeper};
use crate::committer::Committer;
use crate::engine::{Engine, FjallEngine, MemoryEngine};
use crate::observer::Health;
use crate::store::{Store, StoreResult};
use crate::{
    Actor, ApiKeyFilter, ApiKeyRecord, BackedUp, Claim, Counts, Cursor, Door, Event, Expired, HandedOn,
    Imported, Invitation, Invited, Issuance, IssuanceFilter, IssuedCertificate, IssuerRecord, KeyStanding,
    Listing, Machine, MachineFilter, Met, NewInvitation, Options, Order, PermissionUse, PolicyRecord,
    Presentation, Redemption, Restoration, Restored, Revoked, RevokedSerial, RevokedToken, RootsDocument,
    Standing, StoreError, StoredEvent, Target, TokenId, TrustState, Unbooked, Whom, Withdrawn, api_keys,
    backup, counts, events, expiry, invitations, issuances, layout, lineage, machines, orders, presentation,
    recovery, registrations, restoration, revocation, revoked_list, standing, trust, uses, withdrawn,
    workloads,
};

/// The book. Closing it (by dropping it) waits for every command that was taken in.
pub struct Book {
    committer: Committer,
    keeper: Keeper,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").field("engine", &self.committer.engine()).finish_non_exhaustive()
    }
}

impl Book {
    /// A book that forgets everything when it is dropped.
    pub fn in_memory(options: Options) -> StoreResult<Self> {
        Self::on(Arc::new(MemoryEngine::new()), options)
    }

    /// The book in a directory, created if it is not there.
    pub fn open(dir: &Path, options: Options) -> StoreResult<Self> {
        Self::on(Arc::new(FjallEngine::open(dir)?), options)
    }

    /// A new book in an empty or missing directory, filled from a backup.
    pub fn restore(file: &Path, dir: &Path, options: Options) -> StoreResult<Self> {
        let engine = Arc::new(FjallEngine::open(dir)?);
        backup::restore(file, &*engine)?;
        Self::on(engine, options)
    }

    /// The book on some engine.
    pub fn on(engine: Arc<dyn Engine>, options: Options) -> StoreResult<Self> {
        layout::check(&*engine)?;
        workloads::index(&*engine)?;
        let Options { entropy, observer, archive, queue_depth } = options;
        let keeper = Keeper::of(archive, Arc::clone(&observer));
        Ok(Self { committer: Committer::start(engine, queue_depth, observer, entropy)?, keeper })
    }
}

impl Ledger for Book {
    fn record(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.committer.command(move |tx| lineage::record(tx, &intent)))
    }

    fn keep(&self, serial: Serial, certificate: Arc<[u8]>) {
        if !self.committer.later(move |tx| issuances::keep(tx, serial, &certificate)) {
            tracing::warn!(%serial, "a signed certificate was not kept: too many wait for the disk");
        }
    }
}

impl Store for Book {
    fn invite(
        &self,
        new: NewInvitation,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Invited>> {
        Box::pin(self.committer.command(move |tx| invitations::invite(tx, &new, &actor, now)))
    }

    fn import_registrations(
        &self,
        registrations: Vec<Registration>,
        dry_run: bool,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Imported>> {
        Box::pin(async move {
            let outcome = self.committer.command(move |tx| {
                let imported = registrations::import(tx, &registrations, &actor, now)?;
                if dry_run { Err(Dry::Run(imported)) } else { Ok(imported) }
            });
            outcome.await.or_else(Dry::into_result)
        })
    }

    fn remove_registration(
        &self,
        id: SpiffeId,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| registrations::remove(tx, &id, &actor, now)))
    }

    fn present(
        &self,
        serial: Serial,
        door: Door,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Presentation>> {
        Box::pin(async move {
            match self.committer.query(|view| presentation::glance(view, serial, door, now))? {
                Some(presentation) => Ok(presentation),
                None => self.committer.command(move |tx| presentation::present(tx, serial, door, now)).await,
            }
        })
    }

    fn order(
        &self,
        order: Order,
        whom: Whom,
        reason: String,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Vec<MachineId>>> {
        Box::pin(self.committer.command(move |tx| orders::order(tx, order, &whom, &reason, &actor, now)))
    }

    fn ask_recovery(
        &self,
        machine: MachineId,
        claim: Claim,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.committer.command(move |tx| recovery::ask(tx, machine, &claim, now)))
    }

    fn deployed(
        &self,
        machine: MachineId,
        serial: Serial,
        address: String,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| machines::deployed(tx, machine, serial, address, now)))
    }

    fn revoke(
        &self,
        target: Target,
        reason: String,
        dry_run: bool,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Revoked>> {
        Box::pin(async move {
            if dry_run {
                let plan = self.committer.query(|view| revocation::plan(view, &target, now))?;
                return Ok(plan.summary());
            }
            self.committer.command(move |tx| revocation::revoke(tx, &target, &reason, &actor, now)).await
        })
    }

    fn create_api_key(
        &self,
        key: ApiKeyRecord,
        replaces: Option<(ApiKeyId, Timestamp)>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| api_keys::create(tx, &key, replaces, &actor, now)))
    }

    fn revoke_api_key(
        &self,
        id: ApiKeyId,
        reason: String,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| api_keys::revoke(tx, id, &reason, &actor, now)))
    }

    fn note_api_key_uses(&self, uses: Vec<(ApiKeyId, Timestamp)>) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| api_keys::note_uses(tx, &uses)))
    }

    fn revoke_token(
        &self,
        token: RevokedToken,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| withdrawn::revoke_token(tx, &token, &actor, now)))
    }

    fn record_issuer(
        &self,
        issuer: IssuerRecord,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| trust::record_issuer(tx, &issuer, &actor, now)))
    }

    fn set_policy(
        &self,
        version: [u8; 32],
        text: String,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<u64>> {
        Box::pin(self.committer.command(move |tx| trust::set_policy(tx, version, text, &actor, now)))
    }

    fn add_roots(
        &self,
        version: u64,
        document: Vec<u8>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| trust::add_roots(tx, version, document, &actor, now)))
    }

    fn append_events(&self, events: Vec<Event>) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| {
            for event in events {
                events::append(tx, event)?;
            }
            Ok(())
        }))
    }

    fn report(&self, events: Vec<Event>, uses: Vec<PermissionUse>) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.committer.command(move |tx| uses::report(tx, events, &uses)))
    }

    fn expire(&self, now: Timestamp) -> BoxFuture<'_, StoreResult<Expired>> {
        Box::pin(async move {
            let mut expired = Expired::default();
            for step in expiry::STEPS {
                loop {
                    let (share, more) = self.committer.command(move |tx| step(tx, now)).await?;
                    expired.add(share);
                    if !more {
                        break;
                    }
                }
            }
            Ok(expired)
        })
    }

    fn hand_on_events(&self) -> BoxFuture<'_, StoreResult<HandedOn>> {
        Box::pin(self.keeper.hand_on(&self.committer))
    }

    fn restored(
        &self,
        restoration: Restoration,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Restored>> {
        Box::pin(restoration::tell(&self.committer, restoration, actor, now))
    }

    fn meet(&self, unbooked: Unbooked, source: Source, now: Timestamp) -> BoxFuture<'_, StoreResult<Met>> {
        Box::pin(self.committer.command(move |tx| restoration::meet(tx, &unbooked, source, now)))
    }

    fn backup(&self, file: &Path) -> StoreResult<BackedUp> {
        backup::write(&self.committer, self.keeper.archive(), file)
    }

    fn standing(&self, serial: Serial) -> StoreResult<Option<Standing>> {
        self.committer.query(|view| standing::of(view, serial))
    }

    fn recorded(&self, serial: Serial) -> StoreResult<Option<Issuance>> {
        self.committer.query(|view| issuances::get(view, serial))
    }

    fn registration(&self, id: &SpiffeId) -> StoreResult<Option<Registration>> {
        self.committer.query(|view| registrations::get(view, id))
    }

    fn registrations(&self, after: Option<&Cursor>, limit: usize) -> StoreResult<Listing<Registration>> {
        self.committer.query(|view| registrations::list(view, after, limit))
    }

    fn holders(&self, name: &str) -> StoreResult<Vec<SpiffeId>> {
        self.committer.query(|view| registrations::holders(view, name))
    }

    fn key_standing(&self, key: &KeyHash, now: Timestamp) -> StoreResult<KeyStanding> {
        self.committer.query(|view| revocation::key_standing(view, key, now))
    }

    fn invitation(&self, hash: &[u8; 32]) -> StoreResult<Option<Invitation>> {
        self.committer.query(|view| invitations::get(view, hash))
    }

    fn redemption(&self, hash: &[u8; 32], key: &KeyHash) -> StoreResult<Option<Redemption>> {
        self.committer.query(|view| invitations::redemption(view, hash, key))
    }

    fn machine(&self, id: MachineId) -> StoreResult<Option<Machine>> {
        self.committer.query(|view| machines::get(view, id))
    }

    fn holder(&self, lineage: Lineage) -> StoreResult<Option<Machine>> {
        self.committer.query(|view| machines::of_lineage(view, lineage))
    }

    fn workload(&self, parent: MachineId, id: &SpiffeId) -> StoreResult<Option<Machine>> {
        self.committer.query(|view| workloads::of(view, parent, id))
    }

    fn workloads(&self, parent: MachineId) -> StoreResult<Vec<Machine>> {
        self.committer.query(|view| workloads::all_of(view, parent))
    }

    fn children(&self, parent: &SpiffeId) -> StoreResult<(u64, Vec<Registration>)> {
        self.committer.query(|view| workloads::registered(view, parent))
    }

    fn children_changed(&self, parent: &SpiffeId) -> StoreResult<u64> {
        self.committer.query(|view| workloads::changed(view, parent))
    }

    fn children_sequence(&self) -> watch::Receiver<u64> {
        self.committer.children()
    }

    fn uses(&self, after: Option<&Cursor>, limit: usize) -> StoreResult<Listing<PermissionUse>> {
        self.committer.query(|view| uses::list(view, after, limit))
    }

    fn machines(
        &self,
        filter: &MachineFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<Machine>> {
        self.committer.query(|view| machines::list(view, filter, after, limit))
    }

    fn machine_of(&self, lineage: Lineage) -> StoreResult<Option<Machine>> {
        self.committer.query(|view| machines::of_lineage(view, lineage))
    }

    fn api_key(&self, id: ApiKeyId) -> StoreResult<Option<ApiKeyRecord>> {
        self.committer.query(|view| api_keys::get(view, id))
    }

    fn api_keys(
        &self,
        filter: &ApiKeyFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<ApiKeyRecord>> {
        self.committer.query(|view| api_keys::list(view, filter, after, limit))
    }

    fn is_token_revoked(&self, id: &TokenId, expires: Timestamp) -> StoreResult<bool> {
        self.committer.query(|view| withdrawn::is_revoked(view, id, expires))
    }

    fn withdrawn(&self, now: Timestamp) -> StoreResult<Withdrawn> {
        self.committer.query(|view| withdrawn::at(view, now))
    }

    fn issuance(&self, serial: Serial) -> StoreResult<Option<IssuedCertificate>> {
        self.committer.query(|view| issuances::with_bytes(view, serial))
    }

    fn issuances(
        &self,
        filter: &IssuanceFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<Issuance>> {
        self.committer.query(|view| issuances::list(view, filter, after, limit))
    }

    fn revoked(
        &self,
        now: Timestamp,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<RevokedSerial>> {
        self.committer.query(|view| revoked_list::list(view, now, after, limit))
    }

    fn trust_state(&self, known: u64) -> StoreResult<TrustState> {
        self.committer.query(|view| trust::state(view, known))
    }

    fn may_be_forgotten(&self, serial: Serial, validity: Validity) -> StoreResult<bool> {
        self.committer.query(|view| restoration::may_be_forgotten(view, serial, validity))
    }

    fn events(&self, after: u64, limit: usize) -> StoreResult<Vec<StoredEvent>> {
        self.keeper.events(&self.committer, after, limit)
    }

    fn issuers(&self) -> StoreResult<Vec<IssuerRecord>> {
        self.committer.query(|view| trust::issuers(view))
    }

    fn policy(&self) -> StoreResult<Option<PolicyRecord>> {
        self.committer.query(|view| trust::current_policy(view))
    }

    fn roots(&self) -> StoreResult<Vec<RootsDocument>> {
        self.committer.query(|view| trust::roots(view))
    }

    fn trust_sequence(&self) -> watch::Receiver<u64> {
        self.committer.trust()
    }

    fn counts(&self) -> StoreResult<Counts> {
        self.committer.query(|view| Ok(Counts { archived: archive::handed_on(view)?, ..counts::read(view)? }))
    }

    fn health(&self) -> Health {
        self.committer.health()
    }
}

/// The way out of a dry run: a refused command leaves nothing, so a rehearsal is refused with its result.
enum Dry<T> {
    Run(T),
    Failed(StoreError),
}

impl<T> Dry<T> {
    fn into_result(self) -> StoreResult<T> {
        match self {
            Self::Run(result) => Ok(result),
            Self::Failed(error) => Err(error),
        }
    }
}

impl<T> From<StoreError> for Dry<T> {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

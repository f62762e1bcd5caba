//! The contract of the book.

use std::path::Path;

use countersign_identity::{ApiKeyId, KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp, Validity};
use countersign_issuance::{BoxFuture, Ledger, LedgerError, Registration, Source};
use tokio::sync::watch;

use crate::{
    Actor, ApiKeyFilter, ApiKeyRecord, BackedUp, Claim, Counts, Cursor, Door, Event, Expired, HandedOn,
    Health, Imported, Invitation, Invited, Issuance, IssuanceFilter, IssuedCertificate, IssuerRecord,
    KeyStanding, Listing, Machine, MachineFilter, Met, NewInvitation, Order, PermissionUse, PolicyRecord,
    Presentation, Redemption, Restoration, Restored, Revoked, RevokedSerial, RevokedToken, RootsDocument,
    Standing, StoreError, StoredEvent, Target, TokenId, TrustState, Unbooked, Whom, Withdrawn,
};

/// What a command or a query of the book gives.
pub type StoreResult<T> = Result<T, StoreError>;

/// The book: registrations, invitations, machines, issuances, revocations, trust, events.
///
/// Each method is **one domain command** or one query; there is no begin and no commit, and no engine shows through.
/// Whatever stands behind it keeps these promises:
///
/// * **Atomic.** A command leaves all of its changes, its event among them, or none.
/// * **Ordered.** Commands take effect one after the other; each is judged on what all before it left.
/// * **Durable on return.** When a command has answered, the loss of power does not undo it. A caller that stops
///   waiting does not stop its command.
/// * **Nothing before the flush.** Nothing read or derived from a command (an answer, a refusal, a query, a sequence)
///   leaves before the flush that covers it.
/// * **A moment.** A query sees one moment of the book, and never waits for the disk.
/// * **Latched.** After a write has failed every command is refused with [`StoreError::ReadOnly`]; queries go on and
///   show nothing of the group that failed.
/// * **Bounded.** More waiting commands than the limit are refused with [`StoreError::Busy`]; what has expired leaves.
/// * **Handed on.** Old events leave the book for files of the [`Archive`](crate::Archive), if it has one: never before the
///   file with their exact bytes is durable and was read again. Every number is told once, in order, wherever it stands,
///   whatever is killed or cut; a file that is damaged or missing among others is refused by its name, and later events
///   stay readable. Old events are read from the disk, the newest never are.
/// * **Readable tomorrow.** Records of older versions are read by newer code.
///
/// Time is handed in; the book has no clock of its own. `now` is the moment at which the command is judged.
pub trait Store: Ledger {
    // ---- registrations and invitations

    /// Creates an invitation, and its registration if that is not there. One that differs is refused.
    fn invite(&self, new: NewInvitation, actor: Actor, now: Timestamp)
    -> BoxFuture<'_, StoreResult<Invited>>;

    /// Creates or changes registrations: all of them, or none. A dry run says what would happen.
    fn import_registrations(
        &self,
        registrations: Vec<Registration>,
        dry_run: bool,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Imported>>;

    /// Removes a registration with its invitations; its machines can renew no more.
    fn remove_registration(
        &self,
        id: SpiffeId,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>>;

    // ---- machines

    /// A machine has presented the certificate with this serial: judges it and does what follows
    /// (DESIGN §3, Lineage). Answers at once if nothing follows.
    fn present(&self, serial: Serial, door: Door, now: Timestamp)
    -> BoxFuture<'_, StoreResult<Presentation>>;

    /// Carries out an operator's order on every machine meant that it applies to; there must be one.
    fn order(
        &self,
        order: Order,
        whom: Whom,
        reason: String,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Vec<MachineId>>>;

    /// A machine whose profile wants an operator's word wants to come back: it is held until that is given.
    fn ask_recovery(
        &self,
        machine: MachineId,
        claim: Claim,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// A certificate of a machine was seen being served.
    fn deployed(
        &self,
        machine: MachineId,
        serial: Serial,
        address: String,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>>;

    /// Revokes for good. A dry run says what would be.
    fn revoke(
        &self,
        target: Target,
        reason: String,
        dry_run: bool,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Revoked>>;

    // ---- API keys and access tokens

    /// Writes a new API key. If it replaces another, that one ends at the given moment at the latest.
    fn create_api_key(
        &self,
        key: ApiKeyRecord,
        replaces: Option<(ApiKeyId, Timestamp)>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>>;

    /// Revokes an API key for good.
    fn revoke_api_key(
        &self,
        id: ApiKeyId,
        reason: String,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>>;

    /// Remembers when API keys were used, to the hour.
    fn note_api_key_uses(&self, uses: Vec<(ApiKeyId, Timestamp)>) -> BoxFuture<'_, StoreResult<()>>;

    /// Revokes one access token until its end.
    fn revoke_token(
        &self,
        token: RevokedToken,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>>;

    // ---- trust, events, upkeep

    /// Writes an issuer; when it is active, the one that was retires.
    fn record_issuer(
        &self,
        issuer: IssuerRecord,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>>;

    /// Applies a policy (`version` is SHA-256 of its text) and gives its number.
    fn set_policy(
        &self,
        version: [u8; 32],
        text: String,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<u64>>;

    /// Adds the next roots document.
    fn add_roots(
        &self,
        version: u64,
        document: Vec<u8>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<()>>;

    /// Appends events that no command of the book tells of.
    fn append_events(&self, events: Vec<Event>) -> BoxFuture<'_, StoreResult<()>>;

    /// Writes down what a verifier reports: events, and which permissions were used.
    fn report(&self, events: Vec<Event>, uses: Vec<PermissionUse>) -> BoxFuture<'_, StoreResult<()>>;

    /// Lets everything leave that is over: whole partitions of issuances, invitations, machines.
    fn expire(&self, now: Timestamp) -> BoxFuture<'_, StoreResult<Expired>>;

    /// Hands one range of old events on to the archive, if there are enough of them, and lets their rows leave. What the
    /// disk refuses is [`StoreError::ArchiveUnwritten`]: the events stay, commands go on, and the next call tries again.
    fn hand_on_events(&self) -> BoxFuture<'_, StoreResult<HandedOn>>;

    /// Tells a book that came back from a backup what happened since (DESIGN §6). To be done before it serves: it takes
    /// several steps, and one that was interrupted leaves a book to be thrown away.
    fn restored(
        &self,
        restoration: Restoration,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, StoreResult<Restored>>;

    /// A certificate came to the renewal door that the book does not know: one that it gave in the time a restore
    /// forgot goes on, waits for an operator, or is revoked.
    fn meet(&self, unbooked: Unbooked, source: Source, now: Timestamp) -> BoxFuture<'_, StoreResult<Met>>;

    /// Writes a backup of this moment to a file (blocking; commands go on meanwhile). The archive's files, which never
    /// change, are no part of it: the answer names those that belong to it.
    fn backup(&self, file: &Path) -> StoreResult<BackedUp>;

    // ---- queries

    /// All that is known about the holder of a certificate, in one query.
    fn standing(&self, serial: Serial) -> StoreResult<Option<Standing>>;

    /// An issuance without its bytes: what a handshake asks, in one read.
    fn recorded(&self, serial: Serial) -> StoreResult<Option<Issuance>>;

    /// A registration.
    fn registration(&self, id: &SpiffeId) -> StoreResult<Option<Registration>>;

    /// How a public key stands at `now`.
    fn key_standing(&self, key: &KeyHash, now: Timestamp) -> StoreResult<KeyStanding>;

    /// Registrations in the order of their SPIFFE IDs.
    fn registrations(&self, after: Option<&Cursor>, limit: usize) -> StoreResult<Listing<Registration>>;

    /// The identities that have a DNS name or address.
    fn holders(&self, name: &str) -> StoreResult<Vec<SpiffeId>>;

    /// An invitation, by SHA-256 of its secret.
    fn invitation(&self, hash: &[u8; 32]) -> StoreResult<Option<Invitation>>;

    /// What a key got for an invitation.
    fn redemption(&self, hash: &[u8; 32], key: &KeyHash) -> StoreResult<Option<Redemption>>;

    /// A machine.
    fn machine(&self, id: MachineId) -> StoreResult<Option<Machine>>;

    /// The machine a lineage belongs to.
    fn holder(&self, lineage: Lineage) -> StoreResult<Option<Machine>>;

    /// The workload of an identity at a machine.
    fn workload(&self, parent: MachineId, id: &SpiffeId) -> StoreResult<Option<Machine>>;

    /// All workloads of a machine that have not ended.
    fn workloads(&self, parent: MachineId) -> StoreResult<Vec<Machine>>;

    /// The registrations under a parent, with the number of their last change.
    fn children(&self, parent: &SpiffeId) -> StoreResult<(u64, Vec<Registration>)>;

    /// The number of the last change of the registrations under a parent.
    fn children_changed(&self, parent: &SpiffeId) -> StoreResult<u64>;

    /// The number of changes of registrations under any parent, as they become durable.
    fn children_sequence(&self) -> watch::Receiver<u64>;

    /// Which identities used which permissions, in the order of the identities.
    fn uses(&self, after: Option<&Cursor>, limit: usize) -> StoreResult<Listing<PermissionUse>>;

    /// Machines in the order of their ids.
    fn machines(
        &self,
        filter: &MachineFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<Machine>>;

    /// The machine of a lineage.
    fn machine_of(&self, lineage: Lineage) -> StoreResult<Option<Machine>>;

    /// An API key.
    fn api_key(&self, id: ApiKeyId) -> StoreResult<Option<ApiKeyRecord>>;

    /// API keys in the order of their ids.
    fn api_keys(
        &self,
        filter: &ApiKeyFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<ApiKeyRecord>>;

    /// Whether an access token with this id and end was revoked.
    fn is_token_revoked(&self, id: &TokenId, expires: Timestamp) -> StoreResult<bool>;

    /// The API keys and access tokens that verifiers must refuse at `now`.
    fn withdrawn(&self, now: Timestamp) -> StoreResult<Withdrawn>;

    /// An issuance with its bytes.
    fn issuance(&self, serial: Serial) -> StoreResult<Option<IssuedCertificate>>;

    /// Issuances in the order of the hours in which they end.
    fn issuances(
        &self,
        filter: &IssuanceFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<Issuance>>;

    /// The serials verifiers must refuse at `now`, in the order of the hours in which they end.
    fn revoked(
        &self,
        now: Timestamp,
        after: Option<&Cursor>,
        limit: usize,
    ) -> StoreResult<Listing<RevokedSerial>>;

    /// What a trust snapshot is made of, with what changed behind sequence `known`.
    fn trust_state(&self, known: u64) -> StoreResult<TrustState>;

    /// Whether a certificate that the book does not know may be one that it gave in the time a restore forgot, and is
    /// not revoked.
    fn may_be_forgotten(&self, serial: Serial, validity: Validity) -> StoreResult<bool>;

    /// Events behind number `after`, from the archive and the book as if they were one. The first is a later one than
    /// `after + 1` only if files with older events were moved away.
    fn events(&self, after: u64, limit: usize) -> StoreResult<Vec<StoredEvent>>;

    /// Issuers, the oldest first.
    fn issuers(&self) -> StoreResult<Vec<IssuerRecord>>;

    /// The policy that applies.
    fn policy(&self) -> StoreResult<Option<PolicyRecord>>;

    /// All roots documents, the first one first.
    fn roots(&self) -> StoreResult<Vec<RootsDocument>>;

    /// The trust sequence, as it becomes durable.
    fn trust_sequence(&self) -> watch::Receiver<u64>;

    /// How many there are of everything.
    fn counts(&self) -> StoreResult<Counts>;

    /// How the book is.
    fn health(&self) -> Health;
}

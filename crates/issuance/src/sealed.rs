//! What must not compile: each arrow of the corridor walked wrongly, with the compiler's reason.
//!
//! Examples that have to fail, one an item, run by `scripts/check` with their error codes enforced. Each stands above
//! a twin that differs in the forbidden step alone and compiles, so that none fails for a name that has moved.

/// Approvals come from `approve` alone.
///
/// ```compile_fail,E0451
/// use countersign_identity::SpiffeId;
/// use countersign_issuance::Approved;
///
/// fn forged(approved: Approved, id: SpiffeId) -> Approved {
///     Approved { id, ..approved }
/// }
/// ```
/// ```
/// use countersign_identity::SpiffeId;
/// use countersign_issuance::Approved;
///
/// fn read(approved: Approved, id: SpiffeId) -> bool {
///     *approved.spiffe_id() == id
/// }
/// ```
fn forging_approved() {}

/// An approval cannot be changed.
///
/// ```compile_fail,E0616
/// use countersign_identity::SpiffeId;
/// use countersign_issuance::Approved;
///
/// fn changed(approved: &mut Approved, id: SpiffeId) {
///     approved.id = id;
/// }
/// ```
fn changing_an_approval() {}

/// A key is proven by a request that it signed, and by nothing else.
///
/// ```compile_fail,E0616
/// use countersign_issuance::ProvenKey;
///
/// fn exchanged(mut key: ProvenKey, spki: Vec<u8>) -> ProvenKey {
///     key.spki = spki;
///     key
/// }
/// ```
/// ```
/// use countersign_issuance::ProvenKey;
///
/// fn compared(key: ProvenKey, spki: Vec<u8>) -> bool {
///     key.spki() == spki
/// }
/// ```
fn forging_a_key() {}

/// A ledger is asked to record what the corridor prepared, and nothing else.
///
/// ```compile_fail,E0616
/// use countersign_identity::Serial;
/// use countersign_issuance::Intent;
///
/// fn changed(mut intent: Intent, serial: Serial) -> Intent {
///     intent.serial = serial;
///     intent
/// }
/// ```
/// ```
/// use countersign_identity::Serial;
/// use countersign_issuance::Intent;
///
/// fn compared(intent: Intent, serial: Serial) -> bool {
///     intent.serial() == serial
/// }
/// ```
fn forging_an_intent() {}

/// Nobody says "recorded" but the corridor, after the book said yes.
///
/// ```compile_fail,E0451
/// use countersign_issuance::{Intent, Recorded};
///
/// fn forged(recorded: Recorded, intent: Intent) -> Recorded {
///     Recorded { intent, ..recorded }
/// }
/// ```
fn forging_recorded() {}

/// Nor is there a public way to make one.
///
/// ```compile_fail,E0624
/// use countersign_issuance::{Intent, IssuerCertificate, Recorded};
///
/// fn assumed(intent: Intent, issuer: IssuerCertificate) -> Recorded {
///     Recorded::new(intent, issuer)
/// }
/// ```
fn assuming_recorded() {}

/// A prepared certificate is recorded once: recording consumes it.
///
/// ```compile_fail,E0382
/// use countersign_issuance::{Act, Ledger, Prepared};
///
/// async fn twice(prepared: Prepared, ledger: &dyn Ledger) {
///     let _ = prepared.record(ledger, Act::Own).await;
///     let _ = prepared.record(ledger, Act::Own).await;
/// }
/// ```
/// ```
/// use countersign_issuance::{Act, Ledger, Prepared};
///
/// async fn once(prepared: Prepared, ledger: &dyn Ledger) {
///     let _ = prepared.record(ledger, Act::Own).await;
/// }
/// ```
fn recording_twice() {}

/// A recorded certificate cannot be copied to be signed again.
///
/// ```compile_fail,E0277
/// use countersign_issuance::Recorded;
///
/// fn copied(recorded: &Recorded) -> Recorded {
///     fn copy<T: Clone>(one: &T) -> T {
///         one.clone()
///     }
///     copy(recorded)
/// }
/// ```
/// ```
/// use countersign_issuance::ProvenKey;
///
/// fn copied(key: &ProvenKey) -> ProvenKey {
///     fn copy<T: Clone>(one: &T) -> T {
///         one.clone()
///     }
///     copy(key)
/// }
/// ```
fn signing_a_copy() {}

/// A recorded certificate is signed once: signing consumes it.
///
/// ```compile_fail,E0382
/// use countersign_issuance::{Ledger, Recorded, Signer};
///
/// async fn twice(recorded: Recorded, signer: &dyn Signer, ledger: &dyn Ledger) {
///     let _ = recorded.sign(signer, ledger).await;
///     let _ = recorded.sign(signer, ledger).await;
/// }
/// ```
/// ```
/// use countersign_issuance::{Ledger, Recorded, Signer};
///
/// async fn once(recorded: Recorded, signer: &dyn Signer, ledger: &dyn Ledger) {
///     let _ = recorded.sign(signer, ledger).await;
/// }
/// ```
fn signing_twice() {}

/// What is only prepared has nothing to sign with.
///
/// ```compile_fail,E0599
/// use countersign_issuance::{Ledger, Prepared, Signer};
///
/// async fn unrecorded(prepared: Prepared, signer: &dyn Signer, ledger: &dyn Ledger) {
///     let _ = prepared.sign(signer, ledger).await;
/// }
/// ```
fn signing_unrecorded() {}

/// A proven key is not approved: it has nothing to prepare.
///
/// ```compile_fail,E0599
/// use countersign_identity::{Lineage, Serial};
/// use countersign_issuance::{House, ProvenKey};
///
/// fn unapproved(key: ProvenKey, serial: Serial, lineage: Lineage, house: &House<'_>) {
///     let _ = key.prepare(serial, lineage, house);
/// }
/// ```
/// ```
/// use countersign_identity::{Lineage, Serial};
/// use countersign_issuance::{Approved, House};
///
/// fn approved(approved: Approved, serial: Serial, lineage: Lineage, house: &House<'_>) {
///     let _ = approved.prepare(serial, lineage, house);
/// }
/// ```
fn skipping_approval() {}

//! Lineage: the chain of a machine's certificates, and the rules every step of it obeys.
//!
//! A machine's *confirmed* certificate is the one it presented last, *pending* the one it was given and has not presented.
//! What belongs to neither key any more is *older*; a pending one given up for another key is *superseded* and revoked.
//! Holders are told apart by keys, not serials: a retried request gives one key two serials, and that is no clone.

use countersign_identity::Timestamp;
use countersign_issuance::{Act, Intent, LedgerError, LedgerRefusal, Registration, Source};

use crate::events::{self, Event};
use crate::issuances::{self, Issuance};
use crate::machines::{Machine, Step};
use crate::revocation::{self, Cause};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{enrollment, keys, recovery, registrations, renewal, workloads};

/// Where in its lineage a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineageState {
    /// It has the key presented last.
    Confirmed,
    /// It has the key given last, which nobody has presented yet.
    Pending,
    /// It was given up for another key before anyone presented it.
    Superseded,
    /// A later one has been confirmed.
    Older,
}

impl Machine {
    /// Where a certificate of this machine stands.
    pub(crate) fn state_of(&self, issuance: &Issuance) -> LineageState {
        let has = |step: &Step| step.key_hash == issuance.key_hash;
        match &issuance.revoked {
            Some(revocation) if revocation.cause == Cause::Superseded => LineageState::Superseded,
            _ if self.pending.as_ref().is_some_and(has) => LineageState::Pending,
            _ if has(&self.confirmed) => LineageState::Confirmed,
            _ => LineageState::Older,
        }
    }

    /// Whether `later` may have been had by presenting `earlier`, or something that was.
    pub(crate) fn descends(&self, later: &Issuance, earlier: &Issuance) -> bool {
        match (self.state_of(earlier), self.state_of(later)) {
            (LineageState::Confirmed, state) => state == LineageState::Pending,
            (LineageState::Older, LineageState::Older) => {
                later.key_hash != earlier.key_hash && earlier.recorded <= later.recorded
            }
            (LineageState::Older, _) => true,
            // Nobody has presented it.
            (LineageState::Pending | LineageState::Superseded, _) => false,
        }
    }

    /// It is given its next certificate, which nobody has presented yet. With `abandoned` an earlier one has the same key.
    pub(crate) fn is_given(&mut self, intent: &Intent, abandoned: bool, source: Source) {
        let step = step_of(intent);
        self.pending = Some(step);
        self.abandoned = abandoned;
        self.not_after = self.not_after.max(step.not_after);
        self.last_seen = intent.time();
        self.last_source = source.addr.or(self.last_source);
        intent.profile().clone_into(&mut self.profile);
    }

    /// Makes a certificate the one presented last.
    pub(crate) fn confirm(&mut self, step: Step, now: Timestamp) {
        self.confirmed = step;
        self.pending = None;
        self.abandoned = false;
        self.superseded = 0;
        self.last_seen = now;
        if let Some(recovery) = &mut self.recovery {
            recovery.unconfirmed = false;
        }
    }
}

pub(crate) fn step_of(intent: &Intent) -> Step {
    Step { serial: intent.serial(), key_hash: intent.key_hash(), not_after: intent.validity().not_after() }
}

/// Records an intent: the one step between approval and signature.
pub(crate) fn record(tx: &mut Transaction<'_>, intent: &Intent) -> Result<(), LedgerError> {
    if tx.row(&keys::issuance(intent.serial()))?.is_some() {
        return Err(LedgerRefusal::SerialTaken.into());
    }
    match *intent.act() {
        Act::Own => own(tx, intent),
        _ if intent.spiffe_id().is_reserved() => Err(LedgerRefusal::ActMismatch.into()),
        Act::Enroll { invitation, machine, source } => {
            enrollment::enroll(tx, intent, &invitation, machine, source)
        }
        Act::Renew { machine, presented, source } => renewal::renew(tx, intent, machine, presented, source),
        Act::Recover { machine, presented, allowance, approval, source } => {
            let claim = recovery::Claim { presented, allowance, approval, source };
            recovery::recover(tx, intent, machine, &claim)
        }
        Act::Workload { parent, workload, source } => workloads::issue(tx, intent, parent, workload, source),
    }
}

fn own(tx: &mut Transaction<'_>, intent: &Intent) -> Result<(), LedgerError> {
    if !intent.spiffe_id().is_reserved() {
        return Err(LedgerRefusal::ActMismatch.into());
    }
    refuse_used_key(tx, intent)?;
    issuances::create(tx, intent, None)?;
    let event = Event::new("certificate.own", intent.time()).serial(intent.serial());
    Ok(events::append(tx, event.text("spiffe_id", intent.spiffe_id()))?)
}

/// Invariant 3: the registration as it stands now, not as it stood when the certificate was given.
pub(crate) fn standing_registration(rows: &impl Rows, intent: &Intent) -> Result<Registration, LedgerError> {
    let registration =
        registrations::get(rows, intent.spiffe_id())?.ok_or(LedgerRefusal::RegistrationGone)?;
    let ended = registration.until.is_some_and(|until| until <= intent.validity().not_after());
    if ended || registration.profile != intent.profile() {
        return Err(LedgerRefusal::RegistrationGone.into());
    }
    // A name that was taken away meanwhile may be another identity's by now.
    if *registration.dns != *intent.dns() || *registration.ip != *intent.ip() {
        return Err(LedgerRefusal::RegistrationChanged.into());
    }
    Ok(registration)
}

/// Invariant 5: a new key, equal to no key of an unexpired certificate, and to none that was revoked, ever.
pub(crate) fn refuse_used_key(rows: &impl Rows, intent: &Intent) -> Result<(), LedgerError> {
    if revocation::is_key_revoked(rows, &intent.key_hash())? {
        return Err(LedgerRefusal::KeyRevoked.into());
    }
    match issuances::use_of_key(rows, &intent.key_hash(), intent.time())? {
        Some(_) => Err(LedgerRefusal::KeyInUse.into()),
        None => Ok(()),
    }
}

pub(crate) fn refuse_inactive(machine: &Machine) -> Result<(), LedgerRefusal> {
    machine.status.refusal().map_or(Ok(()), Err)
}

pub(crate) fn told(event: Event, intent: &Intent, source: Source) -> Event {
    event
        .serial(intent.serial())
        .text("lineage", intent.lineage())
        .text("key", intent.key_hash())
        .text("profile", intent.profile())
        .text("not_after", intent.validity().not_after())
        .source(source)
}

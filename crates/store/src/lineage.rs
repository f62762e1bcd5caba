//! Lineage: each step of a machine from certificate to certificate, and what gives two holders away.
//!
//! A machine's *confirmed* certificate is the one it presented last, *pending* the one it was given and has not presented.
//! What belongs to neither key any more is *older*; a pending one given up for another key is *superseded* and revoked.
//! Holders are told apart by keys, not serials: a retried request gives one key two serials, and that is no clone.

use countersign_identity::{MachineId, Serial, Timestamp};
use countersign_issuance::{
    Act, Intent, LedgerError, LedgerRefusal, Machines, OnClone, Registration, Source,
};

use crate::events::{self, Event};
use crate::invitations::{self, Invitation, Redemption};
use crate::issuances::{self, Issuance};
use crate::machines::{self, Machine, MachineStatus, Step};
use crate::revocation::{self, Cause};
use crate::rows::Rows;
use crate::transaction::Transaction;
use crate::{StoreError, keys, registrations, trust};

/// Pending certificates that may be superseded between two confirmations: enough for an agent that loses its disk
/// between two tries, too few to fill the list of revoked serials.
const MOST_SUPERSEDED: u8 = 3;

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

/// Through which door a certificate is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Renewal, the one place that judges the lineage (DESIGN §3).
    Renewal {
        /// What the profile says about two holders.
        on_clone: OnClone,
        /// Where the certificate is presented from.
        source: Source,
    },
    /// Any other: an unexpired, unrevoked certificate is accepted and never accuses.
    Other,
}

/// What presenting a certificate showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presentation {
    /// No machine's certificate has this serial (any more).
    Unknown,
    /// It has expired. At the renewal door an event tells of it; it never suspends.
    Expired {
        /// Its last second.
        not_after: Timestamp,
    },
    /// It is revoked.
    Revoked {
        /// What led to it.
        cause: Cause,
    },
    /// Its machine is held (renewal only), suspended or has ended.
    NotActive {
        /// The machine.
        machine: MachineId,
        /// Its status.
        status: MachineStatus,
    },
    /// The lineage's confirmed certificate.
    Current {
        /// The machine.
        machine: MachineId,
    },
    /// The pending certificate, confirmed by this.
    Confirmed {
        /// The machine.
        machine: MachineId,
    },
    /// An older one, accepted at this door.
    Older {
        /// The machine.
        machine: MachineId,
    },
    /// A second holder. The renewal is refused; what the profile says has been done.
    Clone {
        /// The machine.
        machine: MachineId,
        /// What was done.
        action: OnClone,
    },
}

/// What presenting a certificate asks the book to do.
enum Effect {
    Nothing,
    Confirm(Box<Machine>, Step),
    TellExpired(Issuance),
    Accuse(Box<Machine>),
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

    fn confirm(&mut self, step: Step, now: Timestamp) {
        self.confirmed = step;
        self.pending = None;
        self.superseded = 0;
        self.last_seen = now;
    }
}

fn step_of(intent: &Intent) -> Step {
    Step { serial: intent.serial(), key_hash: intent.key_hash(), not_after: intent.validity().not_after() }
}

/// Judges a presented certificate without changing anything; `None` if judging it changes the book.
pub(crate) fn glance(
    rows: &impl Rows,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<Option<Presentation>, StoreError> {
    let (presentation, effect) = judge(rows, serial, door, now)?;
    Ok(matches!(effect, Effect::Nothing).then_some(presentation))
}

/// Judges a presented certificate and does what follows from it.
pub(crate) fn present(
    tx: &mut Transaction<'_>,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<Presentation, StoreError> {
    let (presentation, effect) = judge(tx, serial, door, now)?;
    let source = match door {
        Door::Renewal { source, .. } => source,
        Door::Other => Source::default(),
    };
    match effect {
        Effect::Nothing => {}
        Effect::Confirm(mut machine, step) => {
            machine.confirm(step, now);
            machine.last_source = source.addr.or(machine.last_source);
            machines::put(tx, &machine)?;
            let event = Event::new("machine.confirmed", now).machine(machine.id, &machine.spiffe_id);
            events::append(tx, event.serial(serial).source(source))?;
        }
        Effect::TellExpired(issuance) => {
            let event = Event::new("lineage.expired_presented", now).serial(serial).source(source);
            let event = event.text("spiffe_id", &issuance.spiffe_id).text("lineage", issuance.lineage);
            events::append(tx, event)?;
        }
        Effect::Accuse(mut machine) => accuse(tx, &mut machine, serial, door, now)?,
    }
    Ok(presentation)
}

fn judge(
    rows: &impl Rows,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<(Presentation, Effect), StoreError> {
    let at_renewal = matches!(door, Door::Renewal { .. });
    let Some(issuance) = issuances::get(rows, serial)? else {
        return Ok((Presentation::Unknown, Effect::Nothing));
    };
    let machine = issuance.machine.map(|id| machines::get(rows, id)).transpose()?.flatten();
    let Some(machine) = machine else {
        return Ok((Presentation::Unknown, Effect::Nothing));
    };
    let not_after = issuance.validity.not_after();
    if not_after < now {
        let effect = if at_renewal { Effect::TellExpired(issuance) } else { Effect::Nothing };
        return Ok((Presentation::Expired { not_after }, effect));
    }
    let (id, status) = (machine.id, machine.status);
    if status != MachineStatus::Active && (at_renewal || status != MachineStatus::Held) {
        return Ok((Presentation::NotActive { machine: id, status }, Effect::Nothing));
    }
    let state = machine.state_of(&issuance);
    match (door, state, &issuance.revoked) {
        (Door::Renewal { on_clone, .. }, LineageState::Superseded | LineageState::Older, revoked)
            if state == LineageState::Superseded || revoked.is_none() =>
        {
            Ok((Presentation::Clone { machine: id, action: on_clone }, Effect::Accuse(Box::new(machine))))
        }
        (_, _, Some(revocation)) => Ok((Presentation::Revoked { cause: revocation.cause }, Effect::Nothing)),
        (_, LineageState::Pending, None) => {
            let step = Step { serial, key_hash: issuance.key_hash, not_after };
            let effect = Effect::Confirm(Box::new(machine), step);
            Ok((Presentation::Confirmed { machine: id }, effect))
        }
        (_, LineageState::Confirmed, None) => Ok((Presentation::Current { machine: id }, Effect::Nothing)),
        (_, _, None) => Ok((Presentation::Older { machine: id }, Effect::Nothing)),
    }
}

/// Two holders: the event shows where both came from.
fn accuse(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    serial: Serial,
    door: Door,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Door::Renewal { on_clone, source } = door else { return Ok(()) };
    let event = Event::new("lineage.clone", now)
        .machine(machine.id, &machine.spiffe_id)
        .serial(serial)
        .text("newest", machine.newest().serial)
        .text("action", on_clone)
        .source(source)
        .address("last_source", machine.last_source);
    events::append(tx, event)?;
    match on_clone {
        OnClone::Report => Ok(()),
        OnClone::Hold => machines::set_status(tx, machine, MachineStatus::Held),
        OnClone::Suspend => {
            revocation::suspend(tx, machine, now)?;
            trust::advance(tx)
        }
    }
}

/// Records an intent: the one step between approval and signature.
pub(crate) fn record(tx: &mut Transaction<'_>, intent: &Intent) -> Result<(), LedgerError> {
    if tx.row(&keys::issuance(intent.serial()))?.is_some() {
        return Err(LedgerRefusal::SerialTaken.into());
    }
    match *intent.act() {
        Act::Own => own(tx, intent),
        _ if intent.spiffe_id().is_reserved() => Err(LedgerRefusal::ActMismatch.into()),
        Act::Enroll { invitation, machine, source } => enroll(tx, intent, &invitation, machine, source),
        Act::Renew { machine, presented, source } => renew(tx, intent, machine, presented, source),
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

fn enroll(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    hash: &[u8; 32],
    id: MachineId,
    source: Source,
) -> Result<(), LedgerError> {
    let now = intent.time();
    let mut invitation = invitations::get(tx, hash)?.ok_or(LedgerRefusal::InvitationUnknown)?;
    if invitation.spiffe_id != *intent.spiffe_id() {
        return Err(LedgerRefusal::InvitationUnknown.into());
    }
    let registration = standing_registration(tx, intent)?;
    let earlier = invitations::redemption(tx, hash, &intent.key_hash())?;
    if let Some(earlier) = earlier.filter(|earlier| now <= earlier.not_after) {
        return repeat(tx, intent, hash, &mut invitation, earlier, id, source);
    }
    if invitation.used >= invitation.uses {
        return Err(LedgerRefusal::InvitationUsed.into());
    }
    if invitation.expires < now {
        return Err(LedgerRefusal::InvitationExpired.into());
    }
    refuse_used_key(tx, intent)?;
    if machines::get(tx, id)?.is_some() || tx.row(&keys::lineage(intent.lineage()))?.is_some() {
        // An id drawn twice: the caller draws again.
        return Err(LedgerRefusal::SerialTaken.into());
    }
    if registration.machines == Machines::One {
        replace_others(tx, intent, id)?;
    }
    let machine = enrolled(intent, id, source);
    machines::create(tx, &machine)?;
    invitation.used += 1;
    finish_enrollment(tx, intent, hash, &mut invitation, &machine)?;
    let event = Event::new("machine.enrolled", now).machine(id, &machine.spiffe_id);
    Ok(events::append(tx, told(event, intent, source))?)
}

fn enrolled(intent: &Intent, id: MachineId, source: Source) -> Machine {
    Machine {
        id,
        spiffe_id: intent.spiffe_id().clone(),
        lineage: intent.lineage(),
        status: MachineStatus::Active,
        enrolled: intent.time(),
        confirmed: step_of(intent),
        pending: None,
        superseded: 0,
        last_seen: intent.time(),
        profile: intent.profile().to_owned(),
        last_source: source.addr,
        not_after: intent.validity().not_after(),
    }
}

/// The same key repeats its enrollment because the certificate never reached it: a new serial takes the place of the
/// first, which stays live and revocable until it ends.
fn repeat(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    hash: &[u8; 32],
    invitation: &mut Invitation,
    earlier: Redemption,
    id: MachineId,
    source: Source,
) -> Result<(), LedgerError> {
    let mut machine = machines::get(tx, earlier.machine)?.ok_or(LedgerRefusal::MachineUnknown)?;
    refuse_inactive(&machine)?;
    let moved_on = machine.confirmed.serial != earlier.serial || machine.pending.is_some();
    if machine.id != id || machine.lineage != intent.lineage() || moved_on {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    let first = issuances::get(tx, earlier.serial)?;
    if first.as_ref().is_some_and(|first| first.revoked.is_some()) {
        return Err(LedgerRefusal::CertificateRevoked.into());
    }
    if first.is_some_and(|first| first.signed) {
        // It can be had from the book.
        return Err(LedgerRefusal::KeyInUse.into());
    }
    machine.confirmed = step_of(intent);
    machine.not_after = machine.not_after.max(machine.confirmed.not_after);
    machine.last_seen = intent.time();
    machine.last_source = source.addr.or(machine.last_source);
    machines::put(tx, &machine)?;
    finish_enrollment(tx, intent, hash, invitation, &machine)?;
    let event = Event::new("machine.enrolled", intent.time()).machine(id, &machine.spiffe_id);
    let event = event.text("abandoned", earlier.serial);
    Ok(events::append(tx, told(event, intent, source))?)
}

fn finish_enrollment(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    hash: &[u8; 32],
    invitation: &mut Invitation,
    machine: &Machine,
) -> Result<(), StoreError> {
    let redemption = Redemption {
        key_hash: intent.key_hash(),
        machine: machine.id,
        lineage: machine.lineage,
        serial: intent.serial(),
        not_after: intent.validity().not_after(),
    };
    invitations::bind(tx, hash, invitation, &redemption)?;
    issuances::create(tx, intent, Some(machine.id))
}

/// With `machines = one` an enrollment ends the machine before it.
fn replace_others(tx: &mut Transaction<'_>, intent: &Intent, by: MachineId) -> Result<(), StoreError> {
    let now = intent.time();
    let mut replaced = false;
    for mut machine in machines::of_identity(tx, intent.spiffe_id())? {
        if machine.status.has_ended() {
            continue;
        }
        let reason = format!("replaced by {by}");
        revocation::end(tx, &mut machine, MachineStatus::Replaced, Cause::Replaced, &reason, now)?;
        let event = Event::new("machine.replaced", now).machine(machine.id, &machine.spiffe_id);
        events::append(tx, event.text("by", by))?;
        replaced = true;
    }
    if replaced { trust::advance(tx) } else { Ok(()) }
}

fn renew(
    tx: &mut Transaction<'_>,
    intent: &Intent,
    id: MachineId,
    presented: Serial,
    source: Source,
) -> Result<(), LedgerError> {
    let now = intent.time();
    let mut machine = machines::get(tx, id)?.ok_or(LedgerRefusal::MachineUnknown)?;
    refuse_inactive(&machine)?;
    if machine.spiffe_id != *intent.spiffe_id() || machine.lineage != intent.lineage() {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    standing_registration(tx, intent)?;
    confirm_presented(tx, &mut machine, presented, now)?;
    let abandoned = give_up_pending(tx, &mut machine, intent)?;
    if abandoned.is_none() {
        refuse_used_key(tx, intent)?;
    }
    machine.pending = Some(step_of(intent));
    machine.not_after = machine.not_after.max(intent.validity().not_after());
    machine.last_seen = now;
    machine.last_source = source.addr.or(machine.last_source);
    intent.profile().clone_into(&mut machine.profile);
    machines::put(tx, &machine)?;
    issuances::create(tx, intent, Some(id))?;
    let event = Event::new("machine.renewed", now).machine(id, &machine.spiffe_id);
    let event = match abandoned {
        Some(serial) => event.text("abandoned", serial),
        None => event,
    };
    Ok(events::append(tx, told(event.text("presented", presented), intent, source))?)
}

/// The presented certificate must have the confirmed key, or the pending one, which that confirms.
fn confirm_presented(
    rows: &impl Rows,
    machine: &mut Machine,
    presented: Serial,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let issuance = issuances::get(rows, presented)?.ok_or(LedgerRefusal::LineageMoved)?;
    let not_after = issuance.validity.not_after();
    if issuance.machine != Some(machine.id) || not_after < now {
        return Err(LedgerRefusal::LineageMoved.into());
    }
    if issuance.revoked.is_some() {
        return Err(LedgerRefusal::CertificateRevoked.into());
    }
    match machine.state_of(&issuance) {
        LineageState::Confirmed => Ok(()),
        LineageState::Pending => {
            machine.confirm(Step { serial: presented, key_hash: issuance.key_hash, not_after }, now);
            Ok(())
        }
        LineageState::Superseded | LineageState::Older => Err(LedgerRefusal::LineageMoved.into()),
    }
}

/// Makes way for a new pending certificate. The serial returned is that of a pending one with the same key that was
/// never signed as far as the book knows: it is abandoned, not revoked.
fn give_up_pending(
    tx: &mut Transaction<'_>,
    machine: &mut Machine,
    intent: &Intent,
) -> Result<Option<Serial>, LedgerError> {
    let now = intent.time();
    let Some(pending) = machine.pending.filter(|pending| now <= pending.not_after) else { return Ok(None) };
    let Some(issuance) = issuances::get(tx, pending.serial)? else { return Ok(None) };
    if issuance.revoked.is_some() {
        return Ok(None);
    }
    if pending.key_hash == intent.key_hash() {
        // A signed one can be had from the book.
        return if issuance.signed { Err(LedgerRefusal::KeyInUse.into()) } else { Ok(Some(pending.serial)) };
    }
    if machine.superseded >= MOST_SUPERSEDED {
        return Err(LedgerRefusal::TooManyPending.into());
    }
    machine.superseded += 1;
    // A retry may have left several serials with that key.
    for same in issuances::of_lineage(tx, machine.lineage)? {
        if same.key_hash == pending.key_hash && same.is_live(now) {
            let event = Event::new("lineage.superseded", now).machine(machine.id, &machine.spiffe_id);
            events::append(tx, event.serial(same.serial).text("by", intent.serial()))?;
            revocation::strike(tx, same, Cause::Superseded, "superseded", now)?;
        }
    }
    trust::advance(tx)?;
    Ok(None)
}

/// Invariant 3: the registration as it stands now, not as it stood when the certificate was given.
fn standing_registration(rows: &impl Rows, intent: &Intent) -> Result<Registration, LedgerError> {
    let registration =
        registrations::get(rows, intent.spiffe_id())?.ok_or(LedgerRefusal::RegistrationGone)?;
    let ended = registration.until.is_some_and(|until| until <= intent.validity().not_after());
    if ended || registration.profile != intent.profile() {
        return Err(LedgerRefusal::RegistrationGone.into());
    }
    Ok(registration)
}

/// Invariant 5: a new key, equal to no key of an unexpired certificate.
fn refuse_used_key(rows: &impl Rows, intent: &Intent) -> Result<(), LedgerError> {
    match issuances::use_of_key(rows, &intent.key_hash(), intent.time())? {
        Some(_) => Err(LedgerRefusal::KeyInUse.into()),
        None => Ok(()),
    }
}

fn refuse_inactive(machine: &Machine) -> Result<(), LedgerRefusal> {
    match machine.status {
        MachineStatus::Active => Ok(()),
        MachineStatus::Held => Err(LedgerRefusal::MachineHeld),
        MachineStatus::Suspended => Err(LedgerRefusal::MachineSuspended),
        MachineStatus::Removed | MachineStatus::Revoked => Err(LedgerRefusal::MachineRemoved),
        MachineStatus::Replaced => Err(LedgerRefusal::MachineReplaced),
    }
}

fn told(event: Event, intent: &Intent, source: Source) -> Event {
    event
        .serial(intent.serial())
        .text("lineage", intent.lineage())
        .text("key", intent.key_hash())
        .text("profile", intent.profile())
        .text("not_after", intent.validity().not_after())
        .source(source)
}

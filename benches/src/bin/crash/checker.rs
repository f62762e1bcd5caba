//! The checker: what was acknowledged against what the book says. It is itself tested with faults planted in a book.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use countersign_api::admin::{Issued, Machine};
use serde_json::{Map, Value};

use crate::receipts::Receipts;

/// What the book says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dump {
    pub(crate) issued: Vec<Issued>,
    pub(crate) events: Vec<Map<String, Value>>,
    pub(crate) machines: Vec<Machine>,
    /// So many of the events are in the archive.
    pub(crate) archived: u64,
}

/// Everything that is wrong.
pub(crate) fn faults(receipts: &Receipts, dump: &Dump) -> Vec<String> {
    let mut faults = receipts.complaints.clone();
    acknowledged(receipts, dump, &mut faults);
    twice(receipts, dump, &mut faults);
    events(receipts, dump, &mut faults);
    lineages(dump, &mut faults);
    faults
}

/// Nothing acknowledged is lost.
fn acknowledged(receipts: &Receipts, dump: &Dump, faults: &mut Vec<String>) {
    let issued: HashMap<&str, &Issued> = dump.issued.iter().map(|one| (one.serial.as_str(), one)).collect();
    for held in &receipts.held {
        match issued.get(held.serial.as_str()) {
            None => faults
                .push(format!("lost: {} of {} is held and not in the book", held.serial, held.spiffe_id)),
            Some(one) if one.spiffe_id != held.spiffe_id || one.key != held.key => {
                faults.push(format!(
                    "{} is held by {} and is another's in the book",
                    held.serial, held.spiffe_id
                ));
            }
            Some(_) => {}
        }
    }
    for serial in &receipts.revoked {
        if issued.get(serial.as_str()).is_none_or(|one| one.status != "revoked") {
            faults.push(format!("lost: the revocation of {serial}"));
        }
    }
    let invited: BTreeSet<&str> =
        of_kind(dump, "invitation.created").filter_map(|e| text(e, "spiffe_id")).collect();
    for id in receipts.invited.iter().filter(|id| !invited.contains(id.as_str())) {
        faults.push(format!("lost: the invitation of {id}"));
    }
}

/// No serial twice: not in the book, not in its events, not for two keys.
fn twice(receipts: &Receipts, dump: &Dump, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for one in dump.issued.iter().filter(|one| !seen.insert(&one.serial)) {
        faults.push(format!("twice: serial {} in the book", one.serial));
    }
    let mut recorded = BTreeSet::new();
    for kind in ["machine.enrolled", "machine.renewed", "certificate.own"] {
        for serial in of_kind(dump, kind).filter_map(|event| text(event, "serial")) {
            if !recorded.insert(serial) {
                faults.push(format!("twice: serial {serial} recorded in the events"));
            }
        }
    }
    for one in dump.issued.iter().filter(|one| !recorded.contains(one.serial.as_str())) {
        faults.push(format!("serial {} is in the book and no event tells of it", one.serial));
    }
    let mut keys = HashMap::new();
    for held in &receipts.held {
        if keys.insert(&held.serial, &held.key).is_some_and(|key| *key != held.key) {
            faults.push(format!("twice: serial {} is held with two keys", held.serial));
        }
    }
}

/// Events are numbered without gaps, and what a reader has seen once stays as it was.
fn events(receipts: &Receipts, dump: &Dump, faults: &mut Vec<String>) {
    let mut book = BTreeMap::new();
    for (expected, event) in (1_u64..).zip(&dump.events) {
        let seq = event.get("seq").and_then(Value::as_u64).unwrap_or_default();
        if seq != expected {
            faults.push(format!("events: found number {seq} in the place of {expected}"));
            return;
        }
        book.insert(seq, canonical(event));
    }
    for (seq, seen) in &receipts.seen {
        if book.get(seq) != Some(seen) {
            faults.push(format!("early: event {seq} was seen and is not there, or is another: {seen}"));
        }
    }
}

/// Each lineage goes step by step: from the confirmed or the pending certificate, with a new key, one pending at a time.
fn lineages(dump: &Dump, faults: &mut Vec<String>) {
    let mut machines: BTreeMap<&str, Steps> = BTreeMap::new();
    for event in &dump.events {
        let Some(steps) = text(event, "machine").map(|machine| machines.entry(machine).or_default()) else {
            continue;
        };
        if let Err(what) = steps.take(event) {
            faults.push(format!("lineage: {what}: {}", canonical(event)));
        }
    }
    let active = dump.machines.iter().filter(|machine| machine.status == "active");
    let mut of_id = BTreeSet::new();
    for machine in active {
        if !of_id.insert(&machine.spiffe_id) {
            faults.push(format!("twice: an active machine of {}", machine.spiffe_id));
        }
        let steps = machines.get(machine.machine.as_str()).cloned().unwrap_or_default();
        let pending = machine.pending.as_deref();
        let known = steps.pending.as_deref().is_none_or(|serial| {
            pending == Some(serial) || machine.confirmed == serial || steps.closed.contains(serial)
        });
        if !known {
            faults.push(format!(
                "lost: {} does not know its newest certificate {:?}",
                machine.machine, steps.pending
            ));
        }
    }
}

/// A lineage as its events tell it.
#[derive(Clone, Debug, Default)]
struct Steps {
    confirmed: Option<String>,
    pending: Option<String>,
    /// Serials that were superseded, abandoned or revoked.
    closed: BTreeSet<String>,
    keys: BTreeMap<String, String>,
}

impl Steps {
    fn take(&mut self, event: &Map<String, Value>) -> Result<(), String> {
        let serial = text(event, "serial").map(str::to_owned);
        match (text(event, "kind").unwrap_or_default(), serial) {
            ("machine.enrolled" | "machine.renewed", Some(serial)) => self.step(event, serial),
            ("machine.confirmed", Some(serial)) => {
                self.confirm(&serial);
                Ok(())
            }
            ("lineage.superseded", Some(serial)) => {
                self.closed.insert(serial);
                Ok(())
            }
            ("lineage.clone", _) => Err("a crash was taken for a clone".into()),
            _ => Ok(()),
        }
    }

    fn confirm(&mut self, serial: &str) {
        if self.pending.as_deref() == Some(serial) {
            self.confirmed = self.pending.take();
        }
    }

    fn step(&mut self, event: &Map<String, Value>, serial: String) -> Result<(), String> {
        if let Some(presented) = text(event, "presented") {
            self.confirm(presented);
            if self.confirmed.as_deref().is_some_and(|confirmed| confirmed != presented) {
                return Err("a step from a certificate that is not the newest".into());
            }
            self.confirmed = Some(presented.to_owned());
        }
        let abandoned = text(event, "abandoned").map(str::to_owned);
        let key = text(event, "key").unwrap_or_default().to_owned();
        if let Some(first) = self.keys.insert(key, serial.clone())
            && abandoned.is_none()
        {
            return Err(format!("a step twice: the key has {first} already"));
        }
        self.closed.extend(abandoned);
        match self.pending.replace(serial) {
            Some(open) if !self.closed.contains(&open) => {
                Err(format!("a step twice: {open} is still pending"))
            }
            _ => Ok(()),
        }
    }
}

fn of_kind<'a>(dump: &'a Dump, kind: &'a str) -> impl Iterator<Item = &'a Map<String, Value>> {
    dump.events.iter().filter(move |event| text(event, "kind") == Some(kind))
}

fn text<'a>(event: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    event.get(field)?.as_str()
}

/// One way to write an event.
pub(crate) fn canonical(event: &Map<String, Value>) -> String {
    let sorted: BTreeMap<_, _> = event.iter().collect();
    serde_json::to_string(&sorted).unwrap_or_default()
}

/// Faults to plant in a sound book: what each is called, and what the checker must say of it.
pub(crate) const PLANTED: [(Plant, &str); 6] = [
    (Plant::RecordLost, "lost:"),
    (Plant::SerialTwice, "twice:"),
    (Plant::SeenBeforeItsFlush, "early:"),
    (Plant::RevocationLost, "lost: the revocation"),
    (Plant::StepTwice, "a step twice"),
    (Plant::EventLost, "events: found number"),
];

/// A fault for the checker to find.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    RecordLost,
    SerialTwice,
    SeenBeforeItsFlush,
    RevocationLost,
    StepTwice,
    EventLost,
}

impl Plant {
    /// Plants the fault; false if there is nothing to plant it in.
    pub(crate) fn into(self, receipts: &mut Receipts, dump: &mut Dump) -> bool {
        match self {
            Self::RecordLost => {
                let Some(held) = receipts.held.last() else { return false };
                dump.issued.retain(|one| one.serial != held.serial);
            }
            Self::SerialTwice => {
                let Some(one) = dump.issued.first().cloned() else { return false };
                dump.issued.push(one);
            }
            Self::SeenBeforeItsFlush => {
                let next = dump.events.len() as u64 + 1;
                receipts.seen.insert(next, r#"{"kind":"machine.renewed"}"#.into());
            }
            Self::RevocationLost => {
                let Some(serial) = receipts.revoked.first() else { return false };
                let one = dump.issued.iter_mut().find(|one| one.serial == *serial);
                one.map(|one| "live".clone_into(&mut one.status)).unwrap_or_default();
            }
            Self::StepTwice => return step_twice(dump),
            Self::EventLost => {
                let half = dump.events.len() / 2;
                if half == 0 {
                    return false;
                }
                dump.events.remove(half);
            }
        }
        true
    }
}

/// The newest renewal once more, from the same certificate, with another serial and key.
fn step_twice(dump: &mut Dump) -> bool {
    let Some(mut again) = of_kind(dump, "machine.renewed").last().cloned() else { return false };
    again.insert("serial".into(), "0123456789abcdef".into());
    again.insert("key".into(), "another".into());
    again.insert("seq".into(), (dump.events.len() + 1).into());
    again.remove("abandoned");
    dump.events.push(again);
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::receipts::Held;

    fn event(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn issued(serial: &str, key: &str, status: &str) -> Issued {
        serde_json::from_value(json!({
            "serial": serial, "spiffe_id": "spiffe://t/a", "machine": "m-1", "lineage": "l-1", "profile": "workload",
            "status": status, "not_before": "", "not_after": "", "key": key,
        }))
        .unwrap()
    }

    fn held(serial: &str, key: &str) -> Held {
        Held { serial: serial.into(), spiffe_id: "spiffe://t/a".into(), key: key.into() }
    }

    /// A machine that was invited, enrolled, renewed twice (the first answer was lost) and revoked.
    fn sound() -> (Receipts, Dump) {
        let events: Vec<_> = [
            json!({"seq": 1, "kind": "invitation.created", "spiffe_id": "spiffe://t/a"}),
            json!({"seq": 2, "kind": "machine.enrolled", "machine": "m-1", "serial": "a1", "key": "k1"}),
            json!({"seq": 3, "kind": "machine.renewed", "machine": "m-1", "serial": "a2", "key": "k2", "presented": "a1"}),
            json!({"seq": 4, "kind": "machine.renewed", "machine": "m-1", "serial": "a3", "key": "k2", "presented": "a1",
                "abandoned": "a2"}),
            json!({"seq": 5, "kind": "lineage.superseded", "machine": "m-1", "serial": "a3", "by": "a4"}),
            json!({"seq": 6, "kind": "machine.renewed", "machine": "m-1", "serial": "a4", "key": "k4", "presented": "a1"}),
        ]
        .map(event)
        .into();
        let dump = Dump {
            issued: vec![
                issued("a1", "k1", "revoked"),
                issued("a2", "k2", "intended"),
                issued("a3", "k2", "revoked"),
                issued("a4", "k4", "live"),
            ],
            machines: vec![],
            events,
            archived: 0,
        };
        let receipts = Receipts {
            held: vec![held("a1", "k1"), held("a4", "k4")],
            revoked: vec!["a1".into()],
            invited: vec!["spiffe://t/a".into()],
            seen: dump.events.iter().zip(1..).map(|(event, seq)| (seq, canonical(event))).collect(),
            complaints: vec![],
        };
        (receipts, dump)
    }

    #[test]
    fn a_sound_book_has_no_faults() {
        let (receipts, dump) = sound();
        assert_eq!(faults(&receipts, &dump), Vec::<String>::new());
    }

    #[test]
    fn every_planted_fault_is_found() {
        for (plant, said) in PLANTED {
            let (mut receipts, mut dump) = sound();
            assert!(plant.into(&mut receipts, &mut dump));
            let found = faults(&receipts, &dump);
            assert!(found.iter().any(|fault| fault.contains(said)), "{plant:?}: {found:?}");
        }
    }

    #[test]
    fn a_certificate_held_with_anothers_key_is_found() {
        let (mut receipts, dump) = sound();
        receipts.held.push(held("a4", "k9"));
        let found = faults(&receipts, &dump);
        assert!(found.iter().any(|fault| fault.contains("another's in the book")), "{found:?}");
        assert!(found.iter().any(|fault| fault.contains("held with two keys")), "{found:?}");
    }

    #[test]
    fn a_step_from_an_older_certificate_is_found() {
        let (receipts, mut dump) = sound();
        let older = json!({"seq": 7, "kind": "machine.renewed", "machine": "m-1", "serial": "a5", "key": "k5", "presented": "a0"});
        dump.events.push(event(older));
        dump.issued.push(issued("a5", "k5", "live"));
        let found = faults(&receipts, &dump);
        assert!(found.iter().any(|fault| fault.contains("not the newest")), "{found:?}");
    }
}

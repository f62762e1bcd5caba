//! Machines as the book meets them: they enroll, renew and present what they have.

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, Timestamp};
use countersign_issuance::{Act, LedgerError, OnClone, Recorded, Registration, Source};
use countersign_store::{
    Actor, Book, Door, Event, Invited, Machine, NewInvitation, Presentation, Store, StoreError, Target,
};
use rcgen::KeyPair;

use crate::house::{HOUR, authority, draw, key, key_hash, lineage_from, machine_from, serial};

pub(crate) const OPERATOR: Actor = Actor::Local { uid: 0 };

pub(crate) fn source() -> Source {
    Source { addr: Some("192.0.2.7".parse().unwrap()) }
}

pub(crate) const fn renewal(on_clone: OnClone, source: Source) -> Door {
    Door::Renewal { on_clone, source }
}

/// What the tests do with a book, in few words.
pub(crate) struct Desk<'a> {
    pub(crate) book: &'a Book,
    pub(crate) now: Timestamp,
}

/// A machine with the certificate it uses.
pub(crate) struct Agent {
    pub(crate) registration: Registration,
    pub(crate) machine: MachineId,
    pub(crate) lineage: Lineage,
    pub(crate) serial: Serial,
    pub(crate) key: KeyPair,
}

impl Desk<'_> {
    pub(crate) async fn try_invite(
        &self,
        registration: &Registration,
        uses: u32,
    ) -> Result<([u8; 32], Invited), StoreError> {
        let mut hash = [9; 32];
        hash[..8].copy_from_slice(&draw().to_be_bytes());
        let (registration, expires) = (registration.clone(), self.now + HOUR / 4);
        let new = NewInvitation { hash, registration, expires, uses };
        self.book.invite(new, OPERATOR, self.now).await.map(|invited| (hash, invited))
    }

    pub(crate) async fn invite(&self, registration: &Registration, uses: u32) -> [u8; 32] {
        self.try_invite(registration, uses).await.unwrap().0
    }

    /// Redeems an invitation as far as the record.
    pub(crate) async fn redeem(
        &self,
        registration: &Registration,
        hash: [u8; 32],
        key: &KeyPair,
        (machine, lineage, serial): (MachineId, Lineage, Serial),
    ) -> Result<Recorded, LedgerError> {
        let prepared = authority().prepare(registration, key, serial, lineage, self.now);
        let act = Act::Enroll { invitation: hash, machine, source: source() };
        prepared.record(self.book, act).await
    }

    /// Invites and enrolls a machine; its certificate is signed and kept.
    pub(crate) async fn enroll(&self, registration: &Registration) -> Agent {
        let hash = self.invite(registration, 1).await;
        self.enroll_by(registration, hash, key()).await.unwrap()
    }

    pub(crate) async fn enroll_by(
        &self,
        registration: &Registration,
        hash: [u8; 32],
        key: KeyPair,
    ) -> Result<Agent, LedgerError> {
        let ids = (machine_from(draw()), lineage_from(draw()), serial());
        let recorded = self.redeem(registration, hash, &key, ids).await?;
        self.sign(recorded).await;
        let (machine, lineage, serial) = ids;
        Ok(Agent { registration: registration.clone(), machine, lineage, serial, key })
    }

    /// Renews as far as the record.
    pub(crate) async fn ask(
        &self,
        agent: &Agent,
        key: &KeyPair,
        serial: Serial,
    ) -> Result<Recorded, LedgerError> {
        let prepared = authority().prepare(&agent.registration, key, serial, agent.lineage, self.now);
        let (machine, presented) = (agent.machine, agent.serial);
        prepared.record(self.book, Act::Renew { machine, presented, source: source() }).await
    }

    /// Renews with a new key and goes on with the new certificate, which nobody has presented yet.
    pub(crate) async fn renew(&self, agent: &mut Agent) -> Result<Serial, LedgerError> {
        let (new_key, new) = (key(), serial());
        let recorded = self.ask(agent, &new_key, new).await?;
        self.sign(recorded).await;
        agent.key = new_key;
        Ok(std::mem::replace(&mut agent.serial, new))
    }

    /// Signs what was recorded and waits until the certificate is kept.
    pub(crate) async fn sign(&self, recorded: Recorded) {
        recorded.sign(&authority().pen, self.book).await.unwrap();
        self.settle().await;
    }

    /// Kept certificates come before the commands of their group.
    pub(crate) async fn settle(&self) {
        self.book.append_events(vec![Event::new("test.settled", self.now)]).await.unwrap();
    }

    pub(crate) async fn present(&self, serial: Serial, door: Door) -> Presentation {
        self.book.present(serial, door, self.now).await.unwrap()
    }

    pub(crate) fn machine(&self, agent: &Agent) -> Machine {
        self.book.machine(agent.machine).unwrap().unwrap()
    }

    pub(crate) fn is_listed(&self, serial: Serial) -> bool {
        let list = self.book.revoked(self.now, None, 1000).unwrap().items;
        list.iter().any(|entry| entry.serial == serial)
    }

    pub(crate) fn trust(&self) -> u64 {
        *self.book.trust_sequence().borrow()
    }

    /// The kinds of all events, save the tests' own.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let events = self.book.events(0, usize::MAX).unwrap();
        let kinds = events.iter().map(|event| {
            let event: serde_json::Value = serde_json::from_slice(&event.bytes).unwrap();
            event["kind"].as_str().unwrap().to_owned()
        });
        kinds.filter(|kind| kind != "test.settled").collect()
    }

    pub(crate) async fn revoke(&self, target: Target) -> Vec<Serial> {
        let revoked = self.book.revoke(target, "stolen".into(), false, OPERATOR, self.now).await;
        revoked.unwrap().serials
    }

    pub(crate) fn at(&self, now: Timestamp) -> Self {
        Self { book: self.book, now }
    }
}

impl Agent {
    pub(crate) fn key_hash(&self) -> KeyHash {
        key_hash(&self.key)
    }
}

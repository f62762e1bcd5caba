//! A book with the corridor into it, in which ghosts are enrolled and renewed.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use countersign_identity::{Lineage, MachineId, Serial, Timestamp};
use countersign_issuance::{Act, Registration, Source};
use countersign_store::{Actor, Book, NewInvitation, Store as _, Target};

use crate::{
    corridor::Corridor,
    ghosts::{BlankPen, Ghosts},
};

/// A book and the corridor into it.
pub struct Place {
    book: Book,
    corridor: Corridor,
    pen: BlankPen,
}

/// A machine as its last certificate left it.
pub struct Machine {
    registration: Registration,
    id: MachineId,
    lineage: Lineage,
    newest: Serial,
}

impl Place {
    /// Certificates for this book come through this corridor.
    #[must_use]
    pub fn new(book: Book, corridor: Corridor) -> Self {
        let pen = BlankPen::of(corridor.issuer().clone());
        Self { book, corridor, pen }
    }

    /// The book.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Invites and enrolls one machine.
    ///
    /// # Errors
    /// When policy, judge or book refuse it.
    pub async fn enroll(
        &self,
        registration: Registration,
        ghosts: &mut Ghosts,
        now: Timestamp,
    ) -> Result<Machine> {
        let hash = ghosts.octets();
        let expires = now + Duration::from_mins(15);
        let invitation = NewInvitation { hash, registration: registration.clone(), expires, uses: 1 };
        self.book.invite(invitation, Actor::House, now).await?;
        let (id, lineage) = (MachineId::from_random(ghosts.octets()), Lineage::from_random(ghosts.octets()));
        let act = Act::Enroll { invitation: hash, machine: id, source: source(ghosts) };
        let mut machine = Machine { registration, id, lineage, newest: Serial::from_random(ghosts.octets()) };
        self.issue(&mut machine, ghosts, act, now).await?;
        Ok(machine)
    }

    /// Renews one machine, which presents its newest certificate.
    ///
    /// # Errors
    /// When policy, judge or book refuse it.
    pub async fn renew(&self, machine: &mut Machine, ghosts: &mut Ghosts, now: Timestamp) -> Result<()> {
        let act = Act::Renew { machine: machine.id, presented: machine.newest, source: source(ghosts) };
        self.issue(machine, ghosts, act, now).await
    }

    /// Revokes a machine with all its certificates.
    ///
    /// # Errors
    /// When the book takes no writes.
    pub async fn revoke(&self, machine: &Machine, now: Timestamp) -> Result<()> {
        let target = Target::Machine(machine.id);
        self.book.revoke(target, "benchmark".to_owned(), false, Actor::House, now).await?;
        Ok(())
    }

    async fn issue(
        &self,
        machine: &mut Machine,
        ghosts: &mut Ghosts,
        act: Act,
        now: Timestamp,
    ) -> Result<()> {
        let serial = Serial::from_random(ghosts.octets());
        let prepared =
            self.corridor.prepare(ghosts.key()?, &machine.registration, serial, machine.lineage, now)?;
        prepared.record(&self.book, act).await?.sign(&self.pen, &self.book).await?;
        machine.newest = serial;
        Ok(())
    }
}

fn source(ghosts: &mut Ghosts) -> Source {
    let [a, b, c] = ghosts.octets();
    Source { addr: Some(IpAddr::from([10, a, b, c])) }
}

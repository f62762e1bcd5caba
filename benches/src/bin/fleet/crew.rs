//! Those who enroll and renew ghosts in a book, many at a time, so that they share its flushes.

use std::{net::IpAddr, path::Path, sync::Arc};

use anyhow::Result;
use countersign_bench::{
    corridor::Corridor,
    ghosts::{BlankPen, Ghosts},
};
use countersign_identity::{Lineage, MachineId, Serial, Timestamp};
use countersign_issuance::{Act, Registration, Source};
use countersign_store::{Actor, Book, NewInvitation, Options, Store as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Workers: two full groups of the committer.
pub(crate) const HANDS: u64 = 512;

/// A book and the corridor into it.
pub(crate) struct Place {
    pub(crate) book: Book,
    corridor: Corridor,
    pen: BlankPen,
}

/// A machine as its last certificate left it.
pub(crate) struct Machine {
    registration: Registration,
    id: MachineId,
    lineage: Lineage,
    newest: Serial,
}

impl Place {
    pub(crate) fn open(book: &Path, corridor: Corridor) -> Result<Arc<Self>> {
        let mut dice = StdRng::seed_from_u64(1);
        let options = Options::new(Box::new(move |salt: &mut [u8]| dice.fill_bytes(salt)));
        // Certificates to be kept have four times this room.
        let options = Options { queue_depth: 4096, ..options };
        let pen = BlankPen::of(corridor.issuer().clone());
        Ok(Arc::new(Self { book: Book::open(book, options)?, corridor, pen }))
    }

    /// Invites and enrolls one machine.
    pub(crate) async fn enroll(
        &self,
        registration: Registration,
        ghosts: &mut Ghosts,
        now: Timestamp,
    ) -> Result<Machine> {
        let hash = ghosts.octets();
        let expires = now + std::time::Duration::from_mins(15);
        let invitation = NewInvitation { hash, registration: registration.clone(), expires, uses: 1 };
        self.book.invite(invitation, Actor::House, now).await?;
        let (id, lineage) = (MachineId::from_random(ghosts.octets()), Lineage::from_random(ghosts.octets()));
        let act = Act::Enroll { invitation: hash, machine: id, source: source(ghosts) };
        let mut machine = Machine { registration, id, lineage, newest: Serial::from_random(ghosts.octets()) };
        self.issue(&mut machine, ghosts, act, now).await?;
        Ok(machine)
    }

    /// Renews one machine, which presents its newest certificate.
    pub(crate) async fn renew(
        &self,
        machine: &mut Machine,
        ghosts: &mut Ghosts,
        now: Timestamp,
    ) -> Result<()> {
        let act = Act::Renew { machine: machine.id, presented: machine.newest, source: source(ghosts) };
        self.issue(machine, ghosts, act, now).await
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

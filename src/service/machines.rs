//! Machines and what operators do with them.

use countersign_identity::{MachineId, SpiffeId};
use countersign_store::{Actor, Cursor, Listing, Machine, MachineFilter, Order, Whom};

use super::{Ca, Refused};

/// Machines read at a time.
const PAGE: usize = 1000;
impl Ca {
    /// A page of machines.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn machines(
        &self,
        filter: &MachineFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listing<Machine>, Refused> {
        Ok(self.book().machines(filter, after, limit)?)
    }

    /// One machine.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn machine(&self, id: MachineId) -> Result<Option<Machine>, Refused> {
        Ok(self.book().machine(id)?)
    }

    /// A machine id or a SPIFFE ID, as operators write it.
    ///
    /// # Errors
    /// When it is neither.
    pub fn whom(&self, text: &str, all: bool) -> Result<Whom, Refused> {
        if let Ok(id) = text.parse::<MachineId>() {
            return Ok(Whom::Machine(id));
        }
        let id: SpiffeId = text.parse().map_err(|_| Refused::Parameter {
            what: "target",
            found: text.to_owned(),
            expected: "a machine id (m-…) or a SPIFFE ID (spiffe://…)".into(),
        })?;
        let count = self.machines_here(&id)?.len();
        if count > 1 && !all {
            return Err(Refused::SeveralMachines { id, count });
        }
        Ok(Whom::Identity(id))
    }

    /// The machines of an identity that have not ended.
    pub(super) fn machines_here(&self, id: &SpiffeId) -> Result<Vec<Machine>, Refused> {
        let filter = MachineFilter { identity: Some(id.clone()), status: None };
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.book().machines(&filter, after.as_ref(), PAGE)?;
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        found.retain(|machine| !machine.status.has_ended());
        Ok(found)
    }

    /// The machines an order would reach.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn would_reach(&self, order: Order, whom: &Whom) -> Result<Vec<MachineId>, Refused> {
        let machines = match whom {
            Whom::Machine(id) => self.book().machine(*id)?.into_iter().collect(),
            Whom::Identity(id) => self.machines_here(id)?,
        };
        let fits = |machine: &Machine| order.applies_to(machine.status);
        Ok(machines.iter().filter(|machine| fits(machine)).map(|machine| machine.id).collect())
    }

    /// Carries out an order and says which machines it reached.
    ///
    /// # Errors
    /// When there is no such machine, or its status does not allow it.
    pub async fn order(
        &self,
        order: Order,
        whom: Whom,
        reason: String,
        actor: Actor,
    ) -> Result<Vec<MachineId>, Refused> {
        let reached = self.book().order(order, whom, reason, actor, self.now()).await?;
        tracing::warn!(?order, machines = reached.len(), "machines");
        Ok(reached)
    }
}

//! What live trust keeps on disk, and takes up from there.

use super::{Keeper, State};
use crate::snapshot::{Judged, PartRef, Parts, Snapshot};

impl Keeper {
    /// A full disk must not keep revocations from counting, so this comes after.
    pub(super) fn keep(&self, state: &mut State, snapshot: &Snapshot, parts: &Parts) {
        let Some(disk) = &self.disk else { return };
        state.unkept = match disk.keep(snapshot, parts) {
            Ok(()) => return state.unkept = None,
            Err(fault) => Some(format!("the snapshot in force is not kept on disk: {fault}")),
        };
        let reason = state.unkept.as_deref();
        tracing::error!(trust_domain = %self.trust_domain, reason, "trust snapshot not kept on disk, an older one is");
        state.counts.unkept = state.counts.unkept.saturating_add(1);
        state.last_fault.clone_from(&state.unkept);
    }

    /// Keeps the snapshot in force if that failed when it came.
    pub(super) fn keep_at_last(&self, state: &mut State, held: &Snapshot, parts: &Parts) {
        if state.unkept.is_some() {
            self.keep(state, held, parts);
        }
    }

    /// The parts to be had before a snapshot can be put in force, and, after a failed write, kept.
    pub(super) fn wanted(&self, state: &State, judged: &Judged) -> Vec<PartRef> {
        let mut wanted = judged.missing(state.held.as_ref());
        if let (Some(disk), Some(_)) = (&self.disk, &state.unkept) {
            wanted.extend(disk.lacking(&judged.missing(None)));
            wanted.sort_unstable();
            wanted.dedup();
        }
        wanted
    }

    pub(super) fn take_up(&self) {
        let mut state = self.state();
        let fault = match self.read_kept(&state) {
            Ok(None) => return,
            Ok(Some(snapshot)) => {
                self.put_in_force(&mut state, &snapshot).err().map(|fault| fault.to_string())
            }
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            tracing::error!(trust_domain = %self.trust_domain, fault, "the trust kept on disk is left aside");
            state.last_fault = Some(format!("the trust kept on disk is left aside: {fault}"));
        }
    }

    fn read_kept(&self, state: &State) -> Result<Option<Snapshot>, String> {
        let Some(disk) = &self.disk else { return Ok(None) };
        let Some(jws) = disk.snapshot().map_err(|fault| fault.to_string())? else { return Ok(None) };
        let judged: Judged =
            state.trusted.judge_at_rest(&jws, &self.provider).map_err(|fault| fault.to_string())?;
        let parts = disk.parts(&judged.missing(None)).map_err(|fault| fault.to_string())?;
        judged.complete(None, &parts, &self.provider).map(Some).map_err(|fault| fault.to_string())
    }
}

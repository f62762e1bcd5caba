//! The identities of workloads on disk, so that a restart of this program needs no CA: where each lies, and whether what
//! lies there may be handed out.
//!
//! Each has a directory of its own inside the machine's, with the same generations and the same care as the machine's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_identity::{Clock, ManualClock, SpiffeId, hex};
use sha2::{Digest as _, Sha256};

use super::Custody;
use super::svid::Svid;
use crate::answer::verify;
use crate::dir::Dir;
use crate::error::AgentError;
use crate::generation;
use crate::identity::Identity;
use crate::takeover;

/// What was found of one identity.
enum Found {
    /// It may be handed out.
    Good(Box<(Svid, Identity)>),
    /// Its key does not open.
    Closed,
    /// There is none, or its time is over.
    Nothing,
}

/// Where the identity lies: a name without the characters of a SPIFFE ID that mean something to a file system.
pub(super) fn place(custody: &Custody, id: &SpiffeId) -> PathBuf {
    let digest: [u8; 32] = Sha256::digest(id.to_string()).into();
    custody.home.join(hex::encode(digest.get(..16).unwrap_or_default()))
}

/// Takes up every workload's identity that is on disk, still registered and in its time, and seals what an older agent
/// left in the clear.
pub(super) fn remembered(custody: &Custody) {
    let mut closed = 0_usize;
    let names = generation::list(&custody.home).inspect_err(left_out).unwrap_or_default();
    for name in names {
        let path = custody.home.join(&name);
        if !path.is_dir() {
            continue;
        }
        sealed(custody, &path);
        match look(custody, &path) {
            Ok(Found::Good(good)) => take(custody, good.0),
            Ok(Found::Closed) => closed += 1,
            Ok(Found::Nothing) => {}
            Err(error) => left_out(&error),
        }
    }
    if closed > 0 {
        does_not_open(custody, &format!("the keys of {closed} workloads"));
    }
}

/// The identity on disk, taken up if it was not yet; `None` where one is to be issued.
pub(super) fn found(custody: &Custody, id: &SpiffeId) -> Option<Identity> {
    let path = place(custody, id);
    let on_disk = Dir::at(&path).identity().ok().flatten()?;
    let held = custody.view.borrow().svid(id, custody.now()).map(|svid| svid.serial());
    if held == Some(on_disk.serial()) {
        return Some(on_disk);
    }
    match look(custody, &path) {
        Ok(Found::Good(good)) => {
            let (svid, identity) = *good;
            take(custody, svid);
            return Some(identity);
        }
        Ok(Found::Closed) => does_not_open(custody, &format!("the key of {id}")),
        Ok(Found::Nothing) => {}
        Err(error) => left_out(&error),
    }
    None
}

/// Processes may have it from now on, if it is registered.
pub(super) fn take(custody: &Custody, svid: Svid) {
    custody.view.send_if_modified(|view| {
        let id = svid.id().clone();
        let is_wanted = view.is_workload(&id);
        if is_wanted {
            let view = Arc::make_mut(view);
            view.troubles.remove(&id);
            view.svids.insert(id, Arc::new(svid));
        }
        is_wanted
    });
}

/// Judges what lies in a directory: a pair, in its time, that our own verifier accepts as the identity whose place this is.
fn look(custody: &Custody, path: &Path) -> Result<Found, AgentError> {
    let Some(identity) = Dir::at(path).identity()? else { return Ok(Found::Nothing) };
    let id = identity.spiffe_id();
    let refuse = |what: String| AgentError::failed(format!("{}: {what}", path.display()));
    if path != place(custody, id) {
        return Err(refuse(format!("it holds {id}, whose place is another directory")));
    }
    if custody.now() > identity.validity().not_after() {
        return Ok(Found::Nothing);
    }
    let Some(svid) = Svid::of_workload(&identity, &custody.at_rest())? else { return Ok(Found::Closed) };
    // A clock that is behind at the start may be put right at any moment.
    let at = custody.now().max(identity.validity().not_before());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(at));
    let roots = custody.view.borrow().roots.clone();
    let peer = verify(svid.chain(), &roots, &id.trust_domain(), &clock).map_err(&refuse)?;
    if peer.spiffe_id() != id || peer.serial() != Some(svid.serial()) || peer.validity() != svid.validity() {
        return Err(refuse(format!("its certificate is of {}, expected that of {id}", peer.spiffe_id())));
    }
    Ok(Found::Good(Box::new((svid, identity))))
}

/// Under a secret that nobody keeps a key would be lost.
fn sealed(custody: &Custody, path: &Path) {
    if !custody.seal.is_kept() {
        return;
    }
    if let Err(error) = takeover::seal(&Dir::at(path), &custody.at_rest()) {
        tracing::warn!(
            hint = error.hint(),
            "what an older agent may have left in the clear is not sealed: {error}; tried again at the next start"
        );
    }
}

fn left_out(error: &AgentError) {
    tracing::warn!("a workload's identity on disk is left out, and issued anew when a process asks: {error}");
}

fn does_not_open(custody: &Custody, what: &str) {
    tracing::warn!(
        hint = "if there was another secret, put it back and restart",
        "{} does not open {what}: found keys sealed under another secret, or damaged, expected keys sealed under it; they are issued anew when a process asks",
        custody.seal.place()
    );
}

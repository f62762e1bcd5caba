//! Keys of workloads that an older agent left in the clear: sealed where they lie, so that nobody is asked for new ones.

use countersign_verifier::certificates_from_pem;
use zeroize::Zeroizing;

use crate::at_rest::{AtRest, is_sealed};
use crate::dir::{Dir, Held};
use crate::durable;
use crate::error::AgentError;
use crate::generation::{self, Publication};
use crate::identity::Identity;
use crate::outputs::Outputs;
use crate::pending::Purpose;
use crate::stages::Uninterrupted;

/// Leaves no key in the clear in the directory of a workload. Whatever stops it, the next start goes on.
pub(crate) fn seal(dir: &Dir, at_rest: &AtRest) -> Result<(), AgentError> {
    let held = dir.hold()?.keeping(at_rest.clone());
    // What a start before this one began is in the way of the same step.
    held.tidy()?;
    if let Some(current) = dir.identity()?.filter(|current| held.is_exposed(current.home())) {
        again(&held, current)?;
    }
    held.tidy()?;
    pending(&held)
}

/// The same certificate and key as a generation of its own, in whose place the old one then goes.
fn again(held: &Held<'_>, current: Identity) -> Result<(), AgentError> {
    let file = |name: &str| {
        let path = current.home().join(name);
        durable::read(&path)?
            .map(Zeroizing::new)
            .ok_or_else(|| AgentError::failed(format!("{} is missing", path.display())))
    };
    let certificates = |name: &str| {
        certificates_from_pem(&file(name)?)
            .map_err(|error| AgentError::failed(format!("{}: {error}", current.home().join(name).display())))
    };
    let key = held.at_rest.open(&file(generation::KEY)?).ok_or_else(|| {
        AgentError::failed(format!("{} is no key", current.home().join(generation::KEY).display()))
    })?;
    let (chain, roots) = (certificates(generation::SVID)?, certificates(generation::BUNDLE)?);
    let (id, outputs) = (current.spiffe_id().clone(), Outputs::default());
    let publication = Publication { chain: &chain, roots: &roots, key, identity: current, outputs };
    held.put(&publication, &Uninterrupted)?;
    tracing::info!(%id, "the key of a workload, which lay in the clear, is sealed");
    Ok(())
}

fn pending(held: &Held<'_>) -> Result<(), AgentError> {
    for name in generation::list(held.path())?.iter().filter(|name| Purpose::is_workloads(name)) {
        let path = held.path().join(name);
        if name.starts_with('.') {
            // Begun and never put in place.
            durable::remove_file(&path)?;
            continue;
        }
        let Some(content) = durable::read(&path)?.map(Zeroizing::new) else { continue };
        if is_sealed(&content) {
            continue;
        }
        match held.at_rest.open(&content).and_then(|key| held.at_rest.close(&key).ok()) {
            Some(sealed) => durable::replace(&path, sealed.as_bytes(), durable::SECRET)?,
            // It was never in use.
            None => durable::remove_file(&path)?,
        }
    }
    Ok(())
}

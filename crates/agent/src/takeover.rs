//! Keys of workloads that an older agent left in the clear: sealed where they lie, so that nobody is asked for new ones.

use countersign_verifier::certificates_from_pem;
use rustls_pki_types::CertificateDer;
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
    let (published, pending) = (published(&held, dir), pending(&held));
    published.and(pending)
}

/// What is published is sealed, or goes if it cannot be understood.
fn published(held: &Held<'_>, dir: &Dir) -> Result<(), AgentError> {
    // What a start before this one began is in the way of the same step.
    held.tidy()?;
    let current = dir.current();
    if current.is_symlink() && held.is_exposed(&current) {
        if let Some(whole) = understood(dir, &held.at_rest)? {
            let id = whole.identity.spiffe_id().clone();
            let Whole { identity, key, chain, roots } = whole;
            let outputs = Outputs::default();
            let publication = Publication { chain: &chain, roots: &roots, key, identity, outputs };
            held.put(&publication, &Uninterrupted)?;
            tracing::info!(%id, "the key of a workload, which lay in the clear, is sealed");
        } else {
            durable::remove_file(&current)?;
            let path = current.display();
            tracing::warn!(%path, "a key in the clear, beside what cannot be understood, is removed with it");
        }
    }
    // The generation in whose place another one is, or none.
    held.tidy()
}

/// What a generation holds.
struct Whole {
    identity: Identity,
    key: Zeroizing<String>,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
}

/// What is published, `None` where that is damaged. A disk that fails may answer at the next start, and is an error.
fn understood(dir: &Dir, at_rest: &AtRest) -> Result<Option<Whole>, AgentError> {
    let file =
        |name| durable::read(&dir.current().join(name)).map(|it| Zeroizing::new(it.unwrap_or_default()));
    let (key, chain, roots) = (file(generation::KEY)?, file(generation::SVID)?, file(generation::BUNDLE)?);
    file(generation::META)?;
    let whole = || {
        let key = at_rest.open(&key)?;
        // Half a key is none.
        at_rest.close(&key).ok()?;
        let (chain, roots) = (certificates_from_pem(&chain).ok()?, certificates_from_pem(&roots).ok()?);
        Some(Whole { identity: dir.identity().ok()??, key, chain, roots })
    };
    Ok(whole())
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::seal::Seal;

    fn at_rest() -> AtRest {
        AtRest::Sealed(Arc::new(Seal::kept(Zeroizing::new(vec![7; 32]), "here".into())))
    }

    /// A directory as an older agent left it, its key in the clear.
    fn plain() -> (tempfile::TempDir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::at(scratch.path().join("workload"));
        let generation = dir.path().join("generations/1-ab");
        fs::create_dir_all(&generation).unwrap();
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for path in [generation.join("svid.key"), generation.join("svid-combined.pem")] {
            fs::write(path, &key).unwrap();
        }
        fs::write(dir.path().join("pending-first.key"), &key).unwrap();
        std::os::unix::fs::symlink("generations/1-ab", dir.current()).unwrap();
        (scratch, dir)
    }

    fn pending_is_sealed(dir: &Dir) -> bool {
        is_sealed(&fs::read(dir.path().join("pending-first.key")).unwrap())
    }

    #[test]
    fn what_cannot_be_understood_goes_with_its_key_and_the_pending_one_is_sealed() {
        // Invariant 8.
        let (_scratch, dir) = plain();
        seal(&dir, &at_rest()).unwrap();
        assert!(!dir.current().is_symlink());
        assert!(generation::list(&dir.path().join("generations")).unwrap().is_empty());
        assert!(pending_is_sealed(&dir));
    }

    #[test]
    fn a_disk_that_cannot_be_read_costs_no_key_and_hinders_no_other_from_being_sealed() {
        let (_scratch, dir) = plain();
        fs::create_dir(dir.current().join("meta.json")).unwrap();
        seal(&dir, &at_rest()).unwrap_err();
        assert!(dir.current().join("svid.key").exists(), "it may be read at the next start");
        assert!(pending_is_sealed(&dir));
    }
}

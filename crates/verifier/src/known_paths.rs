//! Paths that were found before: a peer that comes again with the same certificates costs no signature.
//!
//! Kept is that signatures, names and constraints fit together, which does not change. Whatever can change is asked at each
//! handshake: the time of leaf, issuers and root, what is revoked, and whether the very same trust is in force.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use countersign_identity::{KeyHash, Timestamp};
use rustls::pki_types::CertificateDer;

use crate::svid::Usage;
use crate::trust::Anchors;

/// How many paths are remembered, some 3 MB. Only who has a good certificate adds one.
const ROOM: usize = 1024;

/// A path from a certificate to a root, without the certificate.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// SHA-256 of the key that signed the certificate.
    pub(crate) issuer_key: KeyHash,
    /// The signing certificates from the root down, each with the key that signed it; the root is not among them.
    pub(crate) above: Vec<(CertificateDer<'static>, KeyHash)>,
    /// The first second in which all of them and the root are valid.
    pub(crate) from: Timestamp,
    /// The last.
    pub(crate) until: Timestamp,
}

/// Certificates octet for octet as they were presented, and for what. Whole, since comparing them is exact and costs less
/// than a digest that nobody can forge.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Presentation(Box<[u8]>);

/// The paths remembered.
#[derive(Default)]
pub(crate) struct KnownPaths(Mutex<HashMap<Presentation, Known>>);

struct Known {
    path: Arc<Path>,
    /// By which it was found. Not kept alive, and its place in memory not used again while this is here.
    anchors: Weak<Anchors>,
}

impl Presentation {
    pub(crate) fn of(leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>], usage: Usage) -> Self {
        let length = 1 + leaf.len() + above.iter().map(|der| der.len()).sum::<usize>();
        let mut octets = Vec::with_capacity(length);
        octets.push(match usage {
            Usage::Client => 0,
            Usage::Server => 1,
        });
        for der in std::iter::once(leaf).chain(above) {
            // DER says its own length, so that what follows it cannot be mistaken for part of it.
            octets.extend_from_slice(der);
        }
        Self(octets.into())
    }
}

impl KnownPaths {
    /// The path found before under this very trust, if everything above the leaf is in its time.
    pub(crate) fn get(
        &self,
        presented: &Presentation,
        anchors: &Arc<Anchors>,
        now: Timestamp,
    ) -> Option<Arc<Path>> {
        let known = self.lock();
        let known = known.get(presented)?;
        let same = known.anchors.as_ptr() == Arc::as_ptr(anchors);
        let in_time = (known.path.from..=known.path.until).contains(&now);
        (same && in_time).then(|| Arc::clone(&known.path))
    }

    /// Remembers a path. Where there is no room, those of other trust or out of their time leave, then any.
    pub(crate) fn put(&self, presented: Presentation, path: Path, anchors: &Arc<Anchors>, now: Timestamp) {
        let mut all = self.lock();
        if all.len() >= ROOM {
            all.retain(|_, known| known.anchors.strong_count() > 0 && now <= known.path.until);
        }
        if all.len() >= ROOM
            && let Some(any) = all.keys().next().cloned()
        {
            all.remove(&any);
        }
        all.insert(presented, Known { path: Arc::new(path), anchors: Arc::downgrade(anchors) });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Presentation, Known>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KnownPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownPaths").field(&self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::TrustStore;
    use countersign_testkit::{Authority, noon};
    use std::time::Duration;

    fn anchors() -> Arc<Anchors> {
        let store = TrustStore::new([Authority::root("prod.example").bundle()]).expect("a root");
        store.get("prod.example").expect("its anchors")
    }

    fn path() -> Path {
        let until = noon() + Duration::from_secs(60);
        Path { issuer_key: KeyHash::from_bytes([1; 32]), above: Vec::new(), from: noon(), until }
    }

    fn presented(number: usize) -> Presentation {
        Presentation::of(&number.to_be_bytes().to_vec().into(), &[], Usage::Client)
    }

    #[test]
    fn a_path_is_known_under_the_same_trust_and_in_its_time() {
        let (paths, anchors) = (KnownPaths::default(), anchors());
        paths.put(presented(1), path(), &anchors, noon());
        let at = |seconds| noon() + Duration::from_secs(seconds);
        assert!(paths.get(&presented(1), &anchors, at(60)).is_some());
        assert!(paths.get(&presented(1), &anchors, at(61)).is_none());
        assert!(paths.get(&presented(1), &anchors, noon() - Duration::from_secs(1)).is_none());
        assert!(paths.get(&presented(1), &self::anchors(), noon()).is_none());
        assert!(paths.get(&presented(2), &anchors, noon()).is_none());
    }

    #[test]
    fn paths_take_no_more_than_their_room() {
        let (paths, anchors) = (KnownPaths::default(), anchors());
        let gone = self::anchors();
        paths.put(presented(0), path(), &gone, noon());
        drop(gone);
        for number in 1..=2 * ROOM {
            paths.put(presented(number), path(), &anchors, noon());
        }
        assert_eq!(paths.lock().len(), ROOM);
        assert!(paths.get(&presented(2 * ROOM), &anchors, noon()).is_some(), "the newest is there");
    }

    #[test]
    fn a_presentation_is_for_one_side_and_one_order_of_certificates() {
        let (one, two): (CertificateDer<'_>, CertificateDer<'_>) = (vec![1].into(), vec![2].into());
        let of = |leaf, above: &[CertificateDer<'_>], usage| Presentation::of(leaf, above, usage);
        let known = of(&one, std::slice::from_ref(&two), Usage::Client);
        assert!(known == of(&one, std::slice::from_ref(&two), Usage::Client));
        assert!(known != of(&one, std::slice::from_ref(&two), Usage::Server));
        assert!(known != of(&two, std::slice::from_ref(&one), Usage::Client));
        assert!(known != of(&one, &[], Usage::Client));
    }
}

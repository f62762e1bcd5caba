//! Parts of trust snapshots: octets known by their SHA-256, and the shelf they stand on while somebody may ask for them.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use countersign_api::trust::PartRef;
use countersign_identity::hex;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

/// How long a part that no snapshot names any more stays: a reader that took the snapshot just before has that long.
const RETIRED: Duration = Duration::from_secs(600);
/// Octets of parts that have retired, at most: under a storm of revocations the oldest leave early, and their readers take
/// the newest snapshot instead.
const MOST_RETIRED: usize = 64 * 1024 * 1024;

/// Octets known by their SHA-256.
#[derive(Debug)]
pub struct Part {
    sha256: [u8; 32],
    octets: Arc<[u8]>,
    compressed: Arc<[u8]>,
    media_type: &'static str,
}

impl Part {
    /// A part that holds `octets`.
    pub(super) fn new(octets: Vec<u8>, media_type: &'static str) -> Arc<Self> {
        // Fast: hex compresses to a little more than half at any level, and a revocation waits for it.
        let mut gzip = GzEncoder::new(Vec::with_capacity(octets.len() / 2 + 64), Compression::fast());
        let compressed = gzip.write_all(&octets).and_then(|()| gzip.finish()).unwrap_or_default();
        Arc::new(Self {
            sha256: Sha256::digest(&octets).into(),
            octets: octets.into(),
            compressed: compressed.into(),
            media_type,
        })
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &Arc<[u8]> {
        &self.octets
    }

    /// The octets under gzip (RFC 1952).
    #[must_use]
    pub fn compressed(&self) -> &Arc<[u8]> {
        &self.compressed
    }

    /// What they are.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// As a snapshot names it.
    pub(super) fn reference(&self) -> PartRef {
        let size = u64::try_from(self.octets.len()).unwrap_or(u64::MAX);
        PartRef { sha256: hex::encode(&self.sha256), size }
    }
}

/// Parts by SHA-256.
pub(super) type Parts = HashMap<[u8; 32], Arc<Part>>;

/// Every part that may be asked for.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    parts: Parts,
    retired: Vec<(Instant, Arc<Part>)>,
}

impl Shelf {
    /// Puts up the parts of the newest snapshot, and retires those it no longer names.
    pub(super) fn put_up(&mut self, named: &[&Arc<Part>], now: Instant) -> &Parts {
        let names: BTreeSet<[u8; 32]> = named.iter().map(|part| part.sha256).collect();
        let waiting: BTreeSet<[u8; 32]> = self.retired.iter().map(|(_, part)| part.sha256).collect();
        self.retired.retain(|(_, part)| !names.contains(&part.sha256));
        let leaving = self
            .parts
            .values()
            .filter(|part| !names.contains(&part.sha256) && !waiting.contains(&part.sha256));
        self.retired.extend(leaving.map(|part| (now, Arc::clone(part))));
        let mut octets: usize =
            self.retired.iter().map(|(_, part)| part.octets.len() + part.compressed.len()).sum();
        self.retired.retain(|(since, part)| {
            let stays = now.saturating_duration_since(*since) < RETIRED && octets <= MOST_RETIRED;
            if !stays {
                octets -= part.octets.len() + part.compressed.len();
            }
            stays
        });
        let retired = self.retired.iter().map(|(_, part)| part);
        self.parts =
            named.iter().copied().chain(retired).map(|part| (part.sha256, Arc::clone(part))).collect();
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> Arc<Part> {
        Part::new(text.as_bytes().to_vec(), "text/plain")
    }

    #[test]
    fn a_part_that_is_named_no_more_stays_for_ten_minutes() {
        let (one, two, start) = (part("one"), part("two"), Instant::now());
        let mut shelf = Shelf::default();
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(shelf.put_up(&[&one], start).len(), 1);
        assert_eq!(shelf.put_up(&[&two], later(1)).len(), 2);
        assert_eq!(shelf.put_up(&[&two], later(599)).len(), 2);
        let left = shelf.put_up(&[&two], later(601));
        assert!(left.len() == 1 && left.contains_key(&two.sha256));
    }

    #[test]
    fn a_part_that_is_named_again_does_not_retire() {
        let (one, start) = (part("one"), Instant::now());
        let mut shelf = Shelf::default();
        shelf.put_up(&[&one], start);
        shelf.put_up(&[], start);
        shelf.put_up(&[&one], start);
        assert_eq!(shelf.put_up(&[&one], start + RETIRED * 2).len(), 1);
    }

    #[test]
    fn what_has_retired_is_bounded() {
        let mut shelf = Shelf::default();
        let start = Instant::now();
        let mut octets = 0;
        for n in 0..12_u8 {
            let big = Part::new(vec![n; MOST_RETIRED / 8], "text/plain");
            let parts = shelf.put_up(&[&big], start);
            octets = parts.values().map(|part| part.octets.len()).sum();
        }
        assert!(octets <= MOST_RETIRED + MOST_RETIRED / 8, "{octets}");
    }
}

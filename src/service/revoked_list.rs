//! The list of revoked serials as verifiers get it: cut by the leading bits of the serials, so that one more revocation
//! changes one chunk and the others keep their hash.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use countersign_api::trust::{RevokedPart, RevokedSerials};
use countersign_identity::{KeyHash, Serial, Timestamp};
use countersign_store::RevokedSerial;

use super::parts::Part;

/// Serials in one chunk at most: some 100 KiB, half of it compressed, read in a few milliseconds.
const MOST: usize = 2_000;
/// Two halves that hold no more than this together become one chunk again.
const FEWEST: usize = MOST / 4;
/// A chunk of which so many hundredths have ended is worth being read anew.
const ENDED_PERCENT: usize = 25;
/// Serials are random, so no honest list is cut deeper.
const DEEPEST: u32 = 48;

/// Subject key identifiers (hex) of issuers by their key.
pub(super) type IssuerIds = HashMap<KeyHash, String>;

/// Every revoked serial.
#[derive(Debug)]
pub(super) struct RevokedList {
    /// By the leading bits of the first serial that could stand in them.
    chunks: BTreeMap<u64, Chunk>,
}

#[derive(Debug, Default)]
struct Chunk {
    /// How many leading bits its serials share.
    depth: u32,
    lines: BTreeMap<Serial, Line>,
    /// Until a line changes.
    part: Option<Arc<Part>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Line {
    issuer: KeyHash,
    end: Timestamp,
}

impl Default for RevokedList {
    fn default() -> Self {
        Self { chunks: BTreeMap::from([(0, Chunk::default())]) }
    }
}

impl RevokedList {
    /// Puts a serial on the list.
    pub(super) fn put(&mut self, entry: &RevokedSerial) {
        let line = Line { issuer: entry.issuer, end: entry.not_after };
        let Some((&start, chunk)) = self.chunks.range_mut(..=place(&entry.serial)).next_back() else {
            return;
        };
        if chunk.lines.insert(entry.serial, line) == Some(line) {
            return;
        }
        chunk.part = None;
        if chunk.lines.len() > MOST && chunk.depth < DEEPEST {
            self.split(start);
        }
    }

    /// Takes a serial off the list.
    pub(super) fn take_off(&mut self, serial: &Serial) {
        let Some((_, chunk)) = self.chunks.range_mut(..=place(serial)).next_back() else { return };
        if chunk.lines.remove(serial).is_some() {
            chunk.part = None;
        }
    }

    /// Drops lines that ended before `moment`, from chunks that change anyway and from those of which many have.
    pub(super) fn forget_ended(&mut self, moment: Timestamp) {
        for chunk in self.chunks.values_mut() {
            let ended = chunk.lines.values().filter(|line| line.end < moment).count();
            let many = ended * 100 >= chunk.lines.len() * ENDED_PERCENT;
            if ended > 0 && (many || chunk.part.is_none()) {
                chunk.lines.retain(|_, line| line.end >= moment);
                chunk.part = None;
            }
        }
        self.join();
    }

    /// The chunks as parts; those that have not changed are the ones from before.
    pub(super) fn parts(&mut self, ids: &IssuerIds) -> Vec<Arc<Part>> {
        let filled = self.chunks.values_mut().filter(|chunk| !chunk.lines.is_empty());
        filled.map(|chunk| chunk.part(ids)).collect()
    }

    fn split(&mut self, start: u64) {
        let Some(mut lower) = self.chunks.remove(&start) else { return };
        lower.depth += 1;
        let middle = start | (1 << (u64::BITS - lower.depth));
        let lines = std::mem::take(&mut lower.lines);
        let mut upper = Chunk { depth: lower.depth, ..Chunk::default() };
        for (serial, line) in lines {
            let half = if place(&serial) < middle { &mut lower } else { &mut upper };
            half.lines.insert(serial, line);
        }
        self.chunks.insert(start, lower);
        self.chunks.insert(middle, upper);
    }

    /// Joins halves that have become small, as long as there are any.
    fn join(&mut self) {
        let small = |list: &BTreeMap<u64, Chunk>| {
            list.iter().zip(list.iter().skip(1)).find_map(|((&start, lower), (&next, upper))| {
                let halves = lower.depth == upper.depth
                    && lower.depth > 0
                    && next == start | (1 << (u64::BITS - lower.depth));
                (halves && lower.lines.len() + upper.lines.len() <= FEWEST).then_some((start, next))
            })
        };
        while let Some((start, next)) = small(&self.chunks) {
            let (Some(mut lower), Some(upper)) = (self.chunks.remove(&start), self.chunks.remove(&next))
            else {
                return;
            };
            lower.depth -= 1;
            lower.lines.extend(upper.lines);
            lower.part = None;
            self.chunks.insert(start, lower);
        }
    }
}

impl Chunk {
    fn part(&mut self, ids: &IssuerIds) -> Arc<Part> {
        let lines = &self.lines;
        Arc::clone(self.part.get_or_insert_with(|| Part::new(written(lines, ids), "application/json")))
    }
}

fn written(lines: &BTreeMap<Serial, Line>, ids: &IssuerIds) -> Vec<u8> {
    let mut by_issuer: BTreeMap<&str, Vec<(String, i64)>> = BTreeMap::new();
    for (serial, line) in lines {
        let Some(id) = ids.get(&line.issuer) else {
            // Every issuer is in the book before it signs, so its serials always find it.
            tracing::error!(%serial, issuer = %line.issuer, "a revoked serial is of an issuer that is not in the book");
            continue;
        };
        by_issuer.entry(id).or_default().push((serial.to_string(), line.end.unix()));
    }
    let serials = by_issuer.into_iter();
    let serials = serials.map(|(issuer, entries)| RevokedSerials { issuer: issuer.to_owned(), entries });
    let part = RevokedPart { serials: serials.collect(), ..RevokedPart::default() };
    // Maps with text keys and numbers always have a JSON form.
    serde_json::to_vec(&part).unwrap_or_default()
}

/// The leading bits of a serial. The first of all is always zero (RFC 5280 §4.1.2.2: positive), so it says nothing.
fn place(serial: &Serial) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *serial.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) << 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use countersign_store::Cause;
    use sha2::{Digest as _, Sha256};

    use super::*;

    const ISSUER: [u8; 32] = [7; 32];

    fn entry(number: u32, end: i64) -> RevokedSerial {
        let mut octets = [0; 18];
        octets.copy_from_slice(&Sha256::digest(number.to_be_bytes())[..18]);
        RevokedSerial {
            serial: Serial::from_random(octets),
            issuer: KeyHash::from_bytes(ISSUER),
            not_after: Timestamp::from_unix(end),
            cause: Cause::Ordered,
        }
    }

    fn ids() -> IssuerIds {
        HashMap::from([(KeyHash::from_bytes(ISSUER), "0a0b".to_owned())])
    }

    fn hashes(list: &mut RevokedList) -> BTreeSet<String> {
        list.parts(&ids()).iter().map(|part| part.reference().sha256).collect()
    }

    fn serials(list: &mut RevokedList) -> Vec<String> {
        let parts = list.parts(&ids());
        let parts = parts.iter().map(|part| serde_json::from_slice::<RevokedPart>(part.octets()).unwrap());
        parts.flat_map(|part| part.serials).flat_map(|of| of.entries).map(|(serial, _)| serial).collect()
    }

    fn list_of(count: u32) -> RevokedList {
        let mut list = RevokedList::default();
        (0..count).for_each(|n| list.put(&entry(n, 1000)));
        list
    }

    #[test]
    fn one_more_revocation_changes_one_chunk() {
        let mut list = list_of(20_000);
        let before = hashes(&mut list);
        assert!(before.len() > 9, "{}", before.len());
        list.put(&entry(20_000, 1000));
        assert_eq!(before.difference(&hashes(&mut list)).count(), 1);
        list.take_off(&entry(20_000, 1000).serial);
        assert_eq!(hashes(&mut list), before);
    }

    #[test]
    fn every_serial_stands_in_the_list_once_and_in_order() {
        let mut list = list_of(10_000);
        let mut expected: Vec<String> = (0..10_000).map(|n| entry(n, 1000).serial.to_string()).collect();
        expected.sort();
        assert_eq!(serials(&mut list), expected);
        assert!(list.chunks.values().all(|chunk| chunk.lines.len() <= MOST));
    }

    #[test]
    fn the_same_line_again_changes_nothing() {
        let mut list = list_of(100);
        let before = list.parts(&ids());
        list.put(&entry(7, 1000));
        assert!(Arc::ptr_eq(&before[0], &list.parts(&ids())[0]));
    }

    #[test]
    fn what_has_ended_leaves_and_small_chunks_join() {
        let mut list = list_of(20_000);
        list.put(&entry(20_000, 3000));
        hashes(&mut list);
        list.forget_ended(Timestamp::from_unix(1000));
        assert_eq!(serials(&mut list).len(), 20_001, "its last second counts");
        list.forget_ended(Timestamp::from_unix(1001));
        assert_eq!(serials(&mut list), [entry(20_000, 3000).serial.to_string()]);
        assert_eq!(list.chunks.len(), 1);
    }

    #[test]
    fn a_few_that_have_ended_do_not_make_everybody_read_anew() {
        let mut list = list_of(1000);
        (1000..1100).for_each(|n| list.put(&entry(n, 10)));
        let before = hashes(&mut list);
        list.forget_ended(Timestamp::from_unix(500));
        assert_eq!(hashes(&mut list), before);
    }

    #[test]
    fn an_empty_list_has_no_part() {
        assert!(RevokedList::default().parts(&ids()).is_empty());
    }
}

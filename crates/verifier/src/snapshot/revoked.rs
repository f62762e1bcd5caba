//! What is revoked, in the chunks a snapshot has it in: each read once and shared by every later snapshot that has it.

use std::collections::{BTreeMap, BTreeSet};

use countersign_identity::{Lineage, SpiffeId, Timestamp, hex};
use serde::Deserialize;

use crate::crl::{PaddedSerial, padded};
use crate::peer::PeerFacts;

/// One chunk: 24 octets a serial number.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    serials: Vec<Serials>,
    lineages: BTreeMap<Lineage, Since>,
    subjects: BTreeMap<String, Since>,
    api_keys: BTreeSet<String>,
    token_ids: BTreeSet<String>,
}

/// The serial numbers of one issuer in one chunk.
#[derive(Debug)]
struct Serials {
    /// The issuer's subjectKeyIdentifier.
    issuer: Vec<u8>,
    /// Ascending, each once.
    entries: Box<[Entry]>,
}

/// A serial number, and the last second in which it matters, in seconds since 1970 up to the year 2106.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    serial: PaddedSerial,
    end: u32,
}

/// Everything older than this is revoked, as long as it can be in time.
#[derive(Clone, Copy, Debug)]
struct Since {
    not_before: Timestamp,
    end: Timestamp,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    serials: Vec<WrittenSerials>,
    #[serde(default)]
    lineages: Vec<(String, i64, i64)>,
    #[serde(default)]
    subjects: Vec<(String, i64, i64)>,
    #[serde(default)]
    api_keys: Vec<String>,
    #[serde(default)]
    token_ids: Vec<String>,
}

#[derive(Deserialize)]
struct WrittenSerials {
    issuer: String,
    entries: Vec<(String, i64)>,
}

impl Chunk {
    pub(super) fn read(octets: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(octets).map_err(|fault| fault.to_string())?;
        let mut lineages = BTreeMap::new();
        for (lineage, not_before, end) in &written.lineages {
            let lineage: Lineage = lineage.parse().map_err(|fault| format!("{fault}"))?;
            Since::keep(lineages.entry(lineage), *not_before, *end);
        }
        let mut subjects = BTreeMap::new();
        for (subject, not_before, end) in written.subjects {
            Since::keep(subjects.entry(subject), not_before, end);
        }
        Ok(Self {
            serials: written.serials.iter().map(Serials::read).collect::<Result<_, _>>()?,
            lineages,
            subjects,
            api_keys: written.api_keys.into_iter().collect(),
            token_ids: written.token_ids.into_iter().collect(),
        })
    }

    /// Whether a certificate of the issuer with this key identifier is refused.
    pub(super) fn lists(&self, facts: &PeerFacts, issuer: &[u8], now: Timestamp) -> bool {
        let serial = padded(facts.serial_octets());
        let of_issuer = self.serials.iter().filter(|serials| serials.issuer == issuer);
        let by_serial = serial.is_some_and(|serial| of_issuer.into_iter().any(|all| all.list(&serial, now)));
        let older = |since: Option<&Since>| since.is_some_and(|since| since.covers(facts, now));
        by_serial
            || older(facts.lineage().and_then(|lineage| self.lineages.get(&lineage)))
            || older(self.subjects.get(facts.spiffe_id().as_str()))
    }

    /// Whether a token of this subject and lineage is refused. One made in the very second of the revocation is: a certificate begins
    /// a minute before it is signed, a token does not.
    pub(super) fn has_holder(
        &self,
        subject: &SpiffeId,
        lineage: Option<Lineage>,
        issued: Timestamp,
        now: Timestamp,
    ) -> bool {
        let older =
            |since: Option<&Since>| since.is_some_and(|since| now <= since.end && issued <= since.not_before);
        older(lineage.and_then(|lineage| self.lineages.get(&lineage)))
            || older(self.subjects.get(subject.as_str()))
    }

    /// Whether a certificate of any issuer with this serial number is refused.
    pub(super) fn has_serial(&self, serial: &PaddedSerial, now: Timestamp) -> bool {
        self.serials.iter().any(|serials| serials.list(serial, now))
    }

    pub(super) fn has_api_key(&self, id: &str) -> bool {
        self.api_keys.contains(id)
    }

    pub(super) fn has_token(&self, id: &str) -> bool {
        self.token_ids.contains(id)
    }

    pub(super) fn serials(&self) -> usize {
        self.serials.iter().map(|serials| serials.entries.len()).sum()
    }

    pub(super) fn heap_octets(&self) -> usize {
        self.serials.iter().map(|serials| size_of_val(&*serials.entries)).sum()
    }
}

impl Serials {
    fn read(written: &WrittenSerials) -> Result<Self, String> {
        let issuer = hex::decode(&written.issuer).map_err(|fault| format!("the issuer's key: {fault}"))?;
        let mut entries = Vec::with_capacity(written.entries.len());
        for (serial, end) in &written.entries {
            let odd = if serial.len().is_multiple_of(2) { "" } else { "0" };
            let octets =
                hex::decode(&[odd, serial].concat()).map_err(|fault| format!("a serial number: {fault}"))?;
            // Written without the zero octet that DER puts before a high first digit: it is positive.
            let serial = padded(&[&[0], octets.as_slice()].concat()).or_else(|| padded(&octets));
            let serial = serial.ok_or_else(|| format!("a serial number has {} octets", octets.len()))?;
            entries.push(Entry { serial, end: u32::try_from((*end).max(0)).unwrap_or(u32::MAX) });
        }
        entries.sort_unstable();
        // The later end counts: of several, the last.
        entries.reverse();
        entries.dedup_by_key(|entry| entry.serial);
        entries.reverse();
        Ok(Self { issuer, entries: entries.into_boxed_slice() })
    }

    fn list(&self, serial: &PaddedSerial, now: Timestamp) -> bool {
        let found = self.entries.binary_search_by(|entry| entry.serial.cmp(serial)).ok();
        let entry = found.and_then(|at| self.entries.get(at));
        entry.is_some_and(|entry| entry.end == u32::MAX || now.unix() <= i64::from(entry.end))
    }
}

impl Since {
    /// Of two about the same, what revokes more counts.
    fn keep<K: Ord>(entry: std::collections::btree_map::Entry<'_, K, Self>, not_before: i64, end: i64) {
        let new = Self { not_before: Timestamp::from_unix(not_before), end: Timestamp::from_unix(end) };
        let held = entry.or_insert(new);
        held.not_before = held.not_before.max(new.not_before);
        held.end = held.end.max(new.end);
    }

    fn covers(&self, facts: &PeerFacts, now: Timestamp) -> bool {
        now <= self.end && facts.not_before() < self.not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_serial_numbers_take_less_than_eight_megabytes() {
        let serials: Vec<_> = (0..100_000_u32).map(|n| format!(r#"["7f{n:034x}",1795438800]"#)).collect();
        let text = format!(r#"{{"serials":[{{"issuer":"abcd","entries":[{}]}}]}}"#, serials.join(","));
        let chunk = Chunk::read(text.as_bytes()).expect("a chunk");
        assert_eq!(chunk.serials(), 100_000);
        assert_eq!(chunk.heap_octets(), 2_400_000);
    }

    #[test]
    fn a_serial_number_twice_counts_until_its_later_end() {
        let text = r#"{"serials":[{"issuer":"ab","entries":[["ff",20],["0ff",30],["ff",10]]}]}"#;
        let chunk = Chunk::read(text.as_bytes()).expect("a chunk");
        let serial = padded(&[0, 0xff]).expect("a serial");
        let [serials] = chunk.serials.as_slice() else { panic!("one issuer") };
        assert_eq!(serials.entries.len(), 1);
        assert!(serials.list(&serial, Timestamp::from_unix(30)));
        assert!(!serials.list(&serial, Timestamp::from_unix(31)));
    }

    #[test]
    fn members_of_tomorrow_are_passed_over_and_nonsense_is_not() {
        assert!(Chunk::read(br#"{"moods":[1,2]}"#).is_ok());
        for nonsense in [
            &b""[..],
            br#"{"lineages":[["x",1,2]]}"#,
            br#"{"serials":[{"issuer":"ab","entries":[["zz",1]]}]}"#,
            br#"{"serials":[{"issuer":"a","entries":[]}]}"#,
        ] {
            assert!(Chunk::read(nonsense).is_err());
        }
        let long = format!(r#"{{"serials":[{{"issuer":"ab","entries":[["{}",1]]}}]}}"#, "11".repeat(21));
        assert!(Chunk::read(long.as_bytes()).is_err());
    }
}

//! The ways in which a power cut may leave what is not durable: lost, kept, torn, with a hole, out of order, at random.

use std::collections::{BTreeMap, HashSet};

use crate::disk::{Act, Disk, Fate, Pending, SECTOR};

/// Pending names of which one alone is lost, at most.
const SINGLED_OUT: usize = 4;

/// Different ways for this moment: all that are simple, and `random` more that depend on `seed`.
pub(crate) fn of(disk: &Disk, seed: u64, random: u64) -> Vec<Vec<Fate>> {
    let pending = &disk.pending;
    if pending.is_empty() {
        return vec![vec![]];
    }
    let all = |fate: Fate| vec![fate; pending.len()];
    let split = |names: Fate, octets: Fate| -> Vec<Fate> {
        let fate = |p: &Pending| if Disk::is_of_names(p) { names.clone() } else { octets.clone() };
        pending.iter().map(fate).collect()
    };
    let mut ways = vec![
        all(Fate::Lost),
        all(Fate::Kept),
        split(Fate::Lost, Fate::Kept),
        split(Fate::Kept, Fate::Lost),
        torn(pending),
        holed(pending),
        only_newest(pending),
        without_oldest(pending),
    ];
    ways.extend(without_one_name(pending));
    ways.extend((0..random).map(|n| at_random(pending, Dice(seed.wrapping_mul(1009).wrapping_add(n)))));
    let mut seen = HashSet::new();
    ways.retain(|way| seen.insert(way.clone()));
    ways
}

/// The sectors that a write touches.
fn sectors(pending: &Pending) -> u64 {
    match &pending.act {
        Act::Write { at, octets } => (at % SECTOR + octets.len() as u64).div_ceil(SECTOR),
        _ => 0,
    }
}

/// Pending changes of octets, by file.
fn by_file(pending: &[Pending]) -> BTreeMap<usize, Vec<usize>> {
    let mut files = BTreeMap::<usize, Vec<usize>>::new();
    for (n, change) in pending.iter().enumerate() {
        if !Disk::is_of_names(change) {
            files.entry(change.node).or_default().push(n);
        }
    }
    files
}

/// The last write of each file stops half way.
fn torn(pending: &[Pending]) -> Vec<Fate> {
    let mut fates = vec![Fate::Kept; pending.len()];
    for last in by_file(pending).values().filter_map(|changes| changes.last()) {
        fates[*last] = Fate::Sectors((0..sectors(&pending[*last]) / 2).collect());
    }
    fates
}

/// The longest write of each file lacks a sector in its middle.
fn holed(pending: &[Pending]) -> Vec<Fate> {
    let mut fates = vec![Fate::Kept; pending.len()];
    for changes in by_file(pending).values() {
        let Some(longest) = changes.iter().copied().max_by_key(|n| sectors(&pending[*n])) else { continue };
        let (count, hole) = (sectors(&pending[longest]), sectors(&pending[longest]) / 2);
        fates[longest] = Fate::Sectors((0..count).filter(|sector| *sector != hole).collect());
    }
    fates
}

/// What was written last to each file is there and all before it is not.
fn only_newest(pending: &[Pending]) -> Vec<Fate> {
    let mut fates = vec![Fate::Lost; pending.len()];
    for (n, change) in pending.iter().enumerate() {
        if Disk::is_of_names(change) {
            fates[n] = Fate::Kept;
        }
    }
    for last in by_file(pending).values().filter_map(|changes| changes.last()) {
        fates[*last] = Fate::Kept;
    }
    fates
}

/// What was written first to each file is missing and all after it is there.
fn without_oldest(pending: &[Pending]) -> Vec<Fate> {
    let mut fates = vec![Fate::Kept; pending.len()];
    for first in by_file(pending).values().filter_map(|changes| changes.first()) {
        fates[*first] = Fate::Lost;
    }
    fates
}

/// One change of names is missing and all others are there.
fn without_one_name(pending: &[Pending]) -> impl Iterator<Item = Vec<Fate>> {
    let names = pending.iter().enumerate().filter(|(_, change)| Disk::is_of_names(change));
    names.take(SINGLED_OUT).map(|(n, _)| {
        let mut fates = vec![Fate::Kept; pending.len()];
        fates[n] = Fate::Lost;
        fates
    })
}

fn at_random(pending: &[Pending], mut dice: Dice) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(pending.len());
    for change in pending {
        fates.push(match sectors(change) {
            0 if dice.roll() => Fate::Kept,
            0 => Fate::Lost,
            count => Fate::Sectors((0..count).filter(|_| dice.roll()).collect()),
        });
    }
    fates
}

/// Splitmix64: the same seed, the same cuts.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    const fn roll(&mut self) -> bool {
        self.number() & 1 == 0
    }
}

//! The CA's calendar: in which few seconds of its window each certificate is to be renewed, so that machines born together
//! do not come back together. A value without clock or randomness of its own; what varies is the serial.
//!
//! Nothing of it is kept on disk. After a restart it is empty, and full again once machines have asked, each as often as it
//! does anyway; they may get other seconds than before.

use std::collections::BTreeMap;

use countersign_identity::{Serial, Timestamp};

/// Seconds of one slice. An agent draws a second of its own in it.
const SLICE: i64 = 4;
/// The widest window that is looked after, in slices: two hours, as of a certificate of half a day. In wider ones certificates
/// spread evenly by their serials alone.
const WIDEST: i64 = 1_800;
/// So many slices of a window are compared, drawn by the serial; of a window with no more, all.
const CHOICES: u64 = 16;
/// Certificates that are remembered at most, four octets each. Past it each still gets the emptiest of its slices.
const MOST: usize = 2_000_000;

/// Certificates by the slice they are planned in, each as four octets of its serial.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    slices: BTreeMap<i64, Vec<u32>>,
    planned: usize,
}

impl Calendar {
    /// When the certificate with this serial is to be renewed: a part of its window (from, to; seconds, both included) that
    /// stays the same as long as it is not over. `None` if the window has no such part any more.
    pub(super) fn plan(
        &mut self,
        serial: Serial,
        window: (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Option<(Timestamp, Timestamp)> {
        let current = now.unix().div_euclid(SLICE);
        self.forget_before(current);
        let (mark, seed) = marks(serial);
        // Only slices that lie in the window from end to end.
        let first = (window.0.unix() + SLICE - 1).div_euclid(SLICE);
        let count = (window.1.unix() + 1).div_euclid(SLICE) - first;
        let mut choices = choices(seed, first, count).filter(|slice| current <= *slice);
        if count > WIDEST {
            return choices.next().map(times);
        }
        let choices: Vec<_> = choices.collect();
        let planned =
            choices.iter().find(|slice| self.slices.get(slice).is_some_and(|one| one.contains(&mark)));
        if let Some(slice) = planned {
            return Some(times(*slice));
        }
        let slice = choices.into_iter().min_by_key(|slice| self.slices.get(slice).map_or(0, Vec::len))?;
        if self.planned < MOST {
            self.planned += 1;
            self.slices.entry(slice).or_default().push(mark);
        }
        Some(times(slice))
    }

    fn forget_before(&mut self, current: i64) {
        while let Some(entry) = self.slices.first_entry().filter(|entry| *entry.key() < current) {
            self.planned = self.planned.saturating_sub(entry.remove().len());
        }
    }
}

fn times(slice: i64) -> (Timestamp, Timestamp) {
    (Timestamp::from_unix(slice * SLICE), Timestamp::from_unix(slice * SLICE + SLICE - 1))
}

/// What a serial, which is random, gives: four octets to know it by, and eight to draw with.
fn marks(serial: Serial) -> (u32, u64) {
    let octets = serial.as_bytes();
    let tail: [u8; 12] = octets.last_chunk().copied().unwrap_or_default();
    let [a, b, c, d, rest @ ..] = tail;
    (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(rest))
}

/// The slices among `count` from `first` on that the certificate may be planned in, in an order of its own.
fn choices(seed: u64, first: i64, count: i64) -> impl Iterator<Item = i64> {
    let count = u64::try_from(count).unwrap_or_default();
    let at = move |n: u64| match count {
        ..=CHOICES => (seed % count + n) % count,
        _ => ((u128::from(mixed(seed.wrapping_add(n))) * u128::from(count)) >> 64) as u64,
    };
    (0..count.min(CHOICES)).map(move |n| first.saturating_add_unsigned(at(n)))
}

/// SplitMix64 (Steele, Lea and Flood 2014, §4): neighbours become strangers.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const BIRTH: Timestamp = Timestamp::from_unix(1_795_000_001);

    fn later(seconds: u64) -> Timestamp {
        BIRTH + Duration::from_secs(seconds)
    }

    fn serials(seed: u64, many: usize) -> Vec<Serial> {
        let mut dice = StdRng::seed_from_u64(seed);
        (0..many).map(|_| Serial::from_random(dice.random())).collect()
    }

    /// The window of a certificate of an hour.
    fn window(born: u64) -> (Timestamp, Timestamp) {
        (later(born + 1_200), later(born + 1_800))
    }

    /// Renewals a second: the most in any slice between two moments, and the mean.
    fn peak_and_mean(planned: &[(Timestamp, Timestamp)], from: Timestamp, to: Timestamp) -> (f64, f64) {
        let mut slices = HashMap::<_, u32>::new();
        for one in planned {
            *slices.entry(one.0).or_default() += 1;
        }
        let peak = slices.into_values().max().unwrap();
        (f64::from(peak) / SLICE as f64, planned.len() as f64 / to.since(from).as_secs() as f64)
    }

    #[test]
    fn a_hundred_thousand_machines_born_in_one_second_come_back_evenly() {
        let mut calendar = Calendar::default();
        let (from, to) = window(0);
        let all = serials(0, 100_000).into_iter();
        let planned: Vec<_> = all.map(|one| calendar.plan(one, (from, to), later(300)).unwrap()).collect();
        assert!(planned.iter().all(|one| from <= one.0 && one.0 < one.1 && one.1 <= to));
        let (peak, mean) = peak_and_mean(&planned, from, to);
        assert!(peak <= 1.2 * mean, "{peak} a second, {mean} in the mean");
        let octets: usize = calendar.slices.values().map(|one| one.capacity() * 4).sum();
        assert!(octets <= 8 * 100_000, "{octets} octets");
    }

    #[test]
    fn those_who_are_born_later_fill_the_gaps() {
        let mut calendar = Calendar::default();
        let mut planned = Vec::new();
        // A quarter of them at each of four moments, so that their windows overlap.
        for (n, born) in [0, 200, 400, 600].into_iter().enumerate() {
            let all = serials(n as u64, 25_000).into_iter();
            planned.extend(all.map(|serial| calendar.plan(serial, window(born), later(born)).unwrap()));
        }
        // By chance there would be 167 where all four overlap. Whoever puts each quarter where most room is left, without
        // knowing the next, cannot come below 100.3.
        let (peak, _) = peak_and_mean(&planned, window(0).0, window(600).1);
        assert!(peak <= 102.0, "{peak} a second");
    }

    #[test]
    fn whoever_asks_again_hears_the_same_until_it_is_over() {
        let mut calendar = Calendar::default();
        let all = serials(1, 5_000);
        let first: Vec<_> = all.iter().map(|one| calendar.plan(*one, window(0), later(0)).unwrap()).collect();
        for now in [100, 300, 1_199] {
            let again = all.iter().rev().map(|one| calendar.plan(*one, window(0), later(now)).unwrap());
            assert!(again.eq(first.iter().rev().copied()));
        }
        assert_eq!(calendar.planned, all.len());
        for (serial, (_, end)) in all.iter().zip(&first) {
            let late = calendar.plan(*serial, window(0), *end + Duration::from_secs(SLICE as u64));
            assert!(late.is_none_or(|late| late.0 > *end));
        }
        calendar.plan(all[0], window(3_600), later(1_900));
        assert_eq!(calendar.planned, 1, "what is over leaves");
    }

    #[test]
    fn after_a_restart_it_fills_up_evenly_again() {
        let all = serials(9, 20_000);
        let mut calendar = Calendar::default();
        let mut asked = all.clone();
        asked.sort_by_key(|serial| marks(*serial).1);
        let planned: Vec<_> =
            asked.iter().map(|one| calendar.plan(*one, window(0), later(900)).unwrap()).collect();
        let (peak, mean) = peak_and_mean(&planned, window(0).0, window(0).1);
        assert!(peak <= 1.2 * mean, "{peak} a second, {mean} in the mean");
    }

    #[test]
    fn a_window_too_short_or_over_is_left_as_it_is_and_a_wide_one_costs_no_memory() {
        let mut calendar = Calendar::default();
        let [serial, ..] = serials(3, 1)[..] else { unreachable!() };
        assert_eq!(calendar.plan(serial, (later(10), later(12)), later(0)), None);
        assert_eq!(calendar.plan(serial, (later(12), later(10)), later(0)), None);
        assert_eq!(calendar.plan(serial, window(0), later(1_800)), None);
        let wide = (later(30 * 86_400), later(45 * 86_400));
        let planned: Vec<_> =
            serials(4, 10_000).into_iter().map(|one| calendar.plan(one, wide, later(0)).unwrap()).collect();
        assert!(planned.iter().all(|one| wide.0 <= one.0 && one.1 <= wide.1) && calendar.slices.is_empty());
        let days: HashMap<_, u32> = planned.iter().fold(HashMap::new(), |mut days, one| {
            *days.entry(one.0.unix().div_euclid(86_400)).or_default() += 1;
            days
        });
        assert!(days.len() >= 15 && days.values().all(|many| *many < 800), "{days:?}");
    }
}

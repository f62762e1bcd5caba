//! Whether the time of the check of an API key tells how much of a guess is right, as dudect asks it: the check is timed on
//! two kinds of wrong keys, drawn in random order, and Welch's t says whether their times differ (below 4.5: they do not).
//!
//! One kind has all but the last three characters of the right secret, the other is random. A comparison that stops at the first
//! difference is measured likewise, so that it is seen that the method would notice. Prints one line of JSON.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints its figures and stops at a broken fixture"
)]

use std::hint::black_box;
use std::time::Instant;

use countersign::signer::KeyHasher;
use countersign_api::ApiKey;
use countersign_testkit::Seeded;
use serde_json::json;

/// So many checks are timed.
const SAMPLES: usize = 2_000_000;

/// Measurements above these percentiles are left out, since they tell of interrupts; t is the worst of all cuts, as in dudect.
const CUTS: [f64; 6] = [0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

/// A right key: another one for each guess, so that the guesses of both kinds are alike but in how they stand to it. Its text is
/// never made: the tables that a checksum is looked up in would be in the cache where a near guess looks, too.
struct Right {
    id: [u8; 8],
    secret: [u8; 32],
    hash: [u8; 32],
}

fn main() {
    let mut dice = Seeded::new(11);
    let hasher = KeyHasher::new(&dice.octets::<32>());
    let check = |right: &Right, guess: &str| {
        let key: ApiKey = guess.parse().expect("its checksum is right");
        hasher.is(&right.hash, key.id(), key.secret())
    };
    let stops_early = |right: &Right, guess: &str| {
        let key: ApiKey = guess.parse().expect("its checksum is right");
        key.secret().iter().zip(right.secret).all(|(one, other)| black_box(*one) == other)
    };
    let right = Right::new(&mut dice, &hasher);
    let text = ApiKey::from_random(right.id, right.secret).reveal();
    assert!(check(&right, &text) && stops_early(&right, &text), "the fixture says otherwise");
    let (ours, control) = (t(&mut dice, &hasher, check), t(&mut dice, &hasher, stops_early));
    println!("{}", json!({ "t": ours, "control_t": control, "samples": SAMPLES }));
}

impl Right {
    fn new(dice: &mut Seeded, hasher: &KeyHasher) -> Self {
        let (id, secret) = (dice.octets(), dice.octets());
        Self { id, secret, hash: hasher.hash(&id, &secret) }
    }

    /// A wrong key, written to `place`; the same steps make both kinds, so that nothing of the making shows in what follows.
    fn guess(&self, near: bool, dice: &mut Seeded, place: &mut String) {
        let mut guess: [u8; 32] = dice.octets();
        // No branch that the processor would remember.
        let mask = black_box(0_u8.wrapping_sub(near.into()));
        let last = guess.len() - 2;
        for (at, (octet, right)) in guess.iter_mut().zip(self.secret).enumerate() {
            let random = *octet;
            *octet = if at < last { (right & mask) | (random & !mask) } else { right ^ (random | 1) };
        }
        place.clear();
        place.push_str(&ApiKey::from_random(self.id, guess).reveal());
    }
}

/// The worst |t| of all cuts.
fn t(dice: &mut Seeded, hasher: &KeyHasher, check: impl Fn(&Right, &str) -> bool) -> f64 {
    let mut times = vec![(0.0, false); SAMPLES];
    // All guesses are read from the same place: where a text lies shows in its time, too.
    let mut place = String::with_capacity(128);
    for time in &mut times {
        let [draw] = dice.octets::<1>();
        let near = draw < 128;
        let right = Right::new(dice, hasher);
        right.guess(near, dice, &mut place);
        let start = Instant::now();
        let accepted = black_box(check(&right, black_box(&place)));
        let took = start.elapsed().as_nanos() as f64;
        assert!(!accepted, "a wrong key is a wrong key");
        *time = (took, near);
    }
    let mut all: Vec<f64> = times.iter().map(|(took, _)| *took).collect();
    all.sort_by(f64::total_cmp);
    let cut = |share: f64| {
        let at = ((all.len() - 1) as f64 * share) as usize;
        let limit = all.get(at).copied().expect("an index below the count");
        let of = |kind: bool| {
            let within = times.iter().filter(move |(took, near)| *near == kind && *took <= limit);
            Moments::of(within.map(|(took, _)| *took))
        };
        welch([of(true), of(false)])
    };
    CUTS.map(cut).into_iter().fold(0.0, f64::max)
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(times: impl Iterator<Item = f64> + Clone) -> Self {
        let (count, sum) = times.clone().fold((0.0, 0.0), |(count, sum), time| (count + 1.0, sum + time));
        let mean = sum / count;
        let squares: f64 = times.map(|time| (time - mean).powi(2)).sum();
        Self { count, mean, variance: squares / (count - 1.0) }
    }
}

fn welch([one, other]: [Moments; 2]) -> f64 {
    let spread = one.variance / one.count + other.variance / other.count;
    if spread > 0.0 { (one.mean - other.mean).abs() / spread.sqrt() } else { 0.0 }
}

//! Randomness that repeats.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Random octets from a seed: the same seed, the same octets.
#[derive(Debug)]
pub struct Seeded(StdRng);

impl Seeded {
    /// Begins with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// The next octets.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.0.fill_bytes(&mut octets);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::Seeded;

    #[test]
    fn the_same_seed_gives_the_same_octets() {
        assert_eq!(Seeded::new(7).octets::<32>(), Seeded::new(7).octets::<32>());
        assert_ne!(Seeded::new(7).octets::<32>(), Seeded::new(8).octets::<32>());
    }
}

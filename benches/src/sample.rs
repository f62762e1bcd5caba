//! A set of measured values, in microseconds, and its percentiles.

/// Measured values, kept sorted.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<u64>);

impl FromIterator<u64> for Sample {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        Self(values)
    }
}

impl Sample {
    /// The value that `percent` of the values do not exceed (nearest rank); 0 of an empty sample.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_arrival_does_not_matter() {
        let sample: Sample = [9, 1, 5].into_iter().collect();
        assert_eq!([0, 50, 100].map(|p| sample.percentile(p)), [1, 5, 9]);
    }

    #[test]
    fn an_empty_sample_has_percentiles_of_zero() {
        assert_eq!(Sample::default().percentile(99), 0);
    }
}

//! Randomness, injected: the operating system's in the program, a seeded one in tests.

use std::sync::Arc;

use rand::{TryRng as _, rngs::SysRng};

/// Fills octets with randomness.
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// A source of random octets.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}

impl Entropy {
    /// The operating system's.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|out| {
            #[expect(
                clippy::expect_used,
                reason = "a CA without randomness must stop, not go on with guessable serials"
            )]
            SysRng.try_fill_bytes(out).expect("the operating system has no randomness");
        })
    }

    /// Any source.
    #[must_use]
    pub fn from_fn(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// Fills `out`.
    pub fn fill(&self, out: &mut [u8]) {
        (self.0)(out);
    }

    /// `N` fresh octets.
    #[must_use]
    pub fn octets<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        (self.0)(&mut out);
        out
    }
}

//! The trust bundle: the roots of one trust domain (SPIFFE Trust Domain and Bundle §3).

use crate::trust_domain::TrustDomain;

/// The root certificates of one trust domain, each in DER, and the number of this edition.
///
/// No roots is a legal bundle: it says that nothing of the domain is to be trusted.
///
/// ```
/// use countersign_identity::TrustBundle;
///
/// let bundle = TrustBundle::new("prod.example".parse()?, vec![vec![0x30, 0x00]]).with_sequence(7);
/// assert_eq!((bundle.roots().len(), bundle.sequence()), (1, 7));
/// # Ok::<(), countersign_identity::TrustDomainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Vec<Vec<u8>>,
    sequence: u64,
}

impl TrustBundle {
    /// The bundle of `trust_domain`, as edition 0. The DER is carried, not judged.
    #[must_use]
    pub const fn new(trust_domain: TrustDomain, roots: Vec<Vec<u8>>) -> Self {
        Self { trust_domain, roots, sequence: 0 }
    }

    /// The same roots as edition `sequence` (`spiffe_sequence`: grows with every change).
    #[must_use]
    pub fn with_sequence(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// Whose roots these are.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The roots, each in DER.
    #[must_use]
    pub fn roots(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// The number of this edition.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

//! What was believed before, and the judgement on what comes next.

use std::time::Duration;

use countersign_identity::{Timestamp, TrustBundle, TrustDomain};
use rustls::crypto::CryptoProvider;
use sha2::{Digest as _, Sha256};

use super::Judged;
use super::fault::SnapshotFault;
use super::manifest::{self, Manifest};
use super::roots::{KnownRoots, Walker};
use super::signer::TrustSigner;

/// How far a CA's clock may be ahead of ours: as much as the clocks of one fleet are apart on a bad day.
const SKEW: Duration = Duration::from_secs(300);

/// The roots of a trust domain and the newest snapshot seen: what every further snapshot is held against.
///
/// Nothing here reads a clock or the network.
///
/// ```
/// use countersign_testkit::{Authority, SnapshotForge, noon};
/// use countersign_verifier::{SnapshotFault, Trusted, provider};
///
/// let root = Authority::root("prod.example");
/// let signer = root.trust_signer(1);
/// let trusted = Trusted::anchored(root.bundle());
///
/// let seventh = SnapshotForge::new(&root, &signer).sequence(7).forge();
/// let judged = trusted.judge(seventh.jws(), noon(), &provider())?;
/// let snapshot = judged.complete(None, seventh.parts(), &provider())?;
/// assert_eq!(snapshot.sequence(), 7);
///
/// let sixth = SnapshotForge::new(&root, &signer).sequence(6).forge();
/// let refused = snapshot.trusted().judge(sixth.jws(), noon(), &provider()).expect_err("it is older");
/// assert_eq!(refused, SnapshotFault::OlderSequence { found: 6, held: 7 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    trust_domain: TrustDomain,
    roots: KnownRoots,
    last: Option<Last>,
}

/// The newest snapshot seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    epoch: u64,
    sequence: u64,
    issued: Timestamp,
    /// SHA-256 of its payload.
    payload: [u8; 32],
}

impl Trusted {
    /// A beginning: the roots of a bundle, as a machine has them from its enrollment, and no snapshot yet.
    #[must_use]
    pub fn anchored(bundle: TrustBundle) -> Self {
        Self { roots: KnownRoots::anchored(&bundle), trust_domain: bundle.trust_domain().clone(), last: None }
    }

    /// Whose trust it is.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The version of the last roots document walked; none before the first.
    #[must_use]
    pub fn roots_version(&self) -> Option<u64> {
        self.roots.version()
    }

    pub(crate) const fn roots(&self) -> &KnownRoots {
        &self.roots
    }

    /// Judges the compact JWS of a snapshot at `now`.
    ///
    /// # Errors
    /// With the first reason not to believe it. Nothing has changed then.
    pub fn judge(
        &self,
        jws: &[u8],
        now: Timestamp,
        provider: &CryptoProvider,
    ) -> Result<Judged, SnapshotFault> {
        let judged = self.judge_at_rest(jws, provider)?;
        let issued = judged.manifest.issued;
        if issued > now + SKEW {
            return Err(SnapshotFault::FromTheFuture { by: issued.since(now) });
        }
        Ok(judged)
    }

    /// The same without a look at the clock: for what was judged by it before it was put on our own disk, so that a
    /// machine that starts with a wrong clock does not forget what it knew.
    pub(crate) fn judge_at_rest(
        &self,
        jws: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Judged, SnapshotFault> {
        let known = provider.signature_verification_algorithms.all;
        let (compact, signer) = manifest::open(jws)?;
        let manifest = Manifest::read(&compact.payload)?;
        if manifest.trust_domain != self.trust_domain.as_str() {
            let found = manifest.trust_domain;
            return Err(SnapshotFault::ForeignDomain { found, expected: self.trust_domain.clone() });
        }
        let walker = Walker { trust_domain: &self.trust_domain, known };
        let roots = self.roots.walk(&manifest.roots, walker)?;
        let signer = TrustSigner::judge(&signer, roots.ders(), &self.trust_domain, manifest.issued, known)?;
        if !compact.is_signed_by(&signer.certificate.key, known) {
            return Err(SnapshotFault::Signature);
        }
        if manifest.epoch != signer.epoch {
            return Err(SnapshotFault::Epoch { found: manifest.epoch, expected: signer.epoch });
        }
        let last = Last {
            epoch: manifest.epoch,
            sequence: manifest.sequence,
            issued: manifest.issued,
            payload: Sha256::digest(&compact.payload).into(),
        };
        self.last.map_or(Ok(()), |held| last.follows(&held))?;
        let next = Self { trust_domain: self.trust_domain.clone(), roots, last: Some(last) };
        Ok(Judged { jws: jws.into(), manifest, next })
    }
}

impl Last {
    /// Invariant 9: epoch, then sequence, then time of issue never go backwards.
    fn follows(&self, held: &Self) -> Result<(), SnapshotFault> {
        let (found, held) = (self, held);
        if found.epoch != held.epoch {
            let refused = SnapshotFault::OlderEpoch { found: found.epoch, held: held.epoch };
            return if found.epoch > held.epoch { Ok(()) } else { Err(refused) };
        }
        if found.sequence != held.sequence {
            let refused = SnapshotFault::OlderSequence { found: found.sequence, held: held.sequence };
            return if found.sequence > held.sequence { Ok(()) } else { Err(refused) };
        }
        if found.issued < held.issued {
            return Err(SnapshotFault::OlderIssue { found: found.issued, held: held.issued });
        }
        if found.issued == held.issued && found.payload != held.payload {
            return Err(SnapshotFault::Contradiction);
        }
        Ok(())
    }
}

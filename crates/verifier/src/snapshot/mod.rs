//! Trust snapshots: what a verifier needs to know now, signed, and judged before any of it is believed.

mod fault;
mod file;
mod issuers;
mod manifest;
mod revoked;
mod roots;
mod signer;
mod trusted;
mod walked;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{
    KeyHash, Lineage, Serial, SpiffeId, Timestamp, TrustBundle, TrustDomain, Validity,
};
use countersign_policy::Policy;
use rustls::crypto::CryptoProvider;

use crate::crl::padded;
use crate::peer::PeerFacts;
use crate::trust::Roots;
use issuers::Issuers;
use manifest::Manifest;
use revoked::Chunk;

pub use fault::{IssuerFault, RootsFault, SignerFault, SnapshotFault};
pub use file::SnapshotFile;
pub use manifest::PartRef;
pub use trusted::Trusted;
pub use walked::WalkedRoots;

/// Octets of parts by their SHA-256.
pub type Parts = BTreeMap<[u8; 32], Vec<u8>>;

/// A snapshot whose signature, signer, roots and place in time are good, and whose parts are still to be had.
///
/// Made by [`Trusted::judge`].
#[derive(Clone, Debug)]
pub struct Judged {
    jws: Arc<[u8]>,
    manifest: Manifest,
    next: Trusted,
}

/// A snapshot, whole and believed: cloning shares it.
#[derive(Clone)]
pub struct Snapshot {
    judged: Arc<Judged>,
    issuers: Arc<Issuers>,
    /// In the order of the manifest.
    revoked: Vec<Arc<Chunk>>,
    policy: Arc<ReadPolicy>,
    token_keys: Arc<[u8]>,
}

/// The policy of a snapshot. What an older verifier cannot read must not keep revocations from it.
type ReadPolicy = Result<Arc<Policy>, String>;

impl Judged {
    /// The parts it consists of that `held`, the snapshot before, does not have.
    pub fn missing(&self, held: Option<&Snapshot>) -> Vec<PartRef> {
        let known: Vec<_> = held.map(|held| held.parts().collect()).unwrap_or_default();
        let mut missing: Vec<_> =
            self.manifest.parts().filter(|part| !known.contains(part)).copied().collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Puts the parts in their places; those that `held` has are taken from there.
    ///
    /// # Errors
    /// When a part is missing, is not the one named, or makes no sense. A policy that cannot be read is no error here:
    /// [`Snapshot::policy`] tells it, and everything else counts.
    pub fn complete(
        self,
        held: Option<&Snapshot>,
        parts: &Parts,
        provider: &CryptoProvider,
    ) -> Result<Snapshot, SnapshotFault> {
        let Manifest { issuers, policy, token_keys, revoked, .. } = &self.manifest;
        let issuers = self.issuers(issuers, held, parts, provider)?;
        let policy = match held.filter(|held| held.judged.manifest.policy == *policy) {
            Some(held) => Arc::clone(&held.policy),
            None => Arc::new(read_policy(find(parts, policy)?)),
        };
        let token_keys = match held.filter(|held| held.judged.manifest.token_keys == *token_keys) {
            Some(held) => Arc::clone(&held.token_keys),
            None => find(parts, token_keys)?.into(),
        };
        let revoked = revoked.iter().map(|part| chunk(part, held, parts)).collect::<Result<_, _>>()?;
        Ok(Snapshot { issuers, revoked, policy, token_keys, judged: Arc::new(self) })
    }

    fn issuers(
        &self,
        part: &PartRef,
        held: Option<&Snapshot>,
        parts: &Parts,
        provider: &CryptoProvider,
    ) -> Result<Arc<Issuers>, SnapshotFault> {
        let roots = self.next.roots().ders();
        let same = |held: &&Snapshot| {
            held.judged.manifest.issuers == *part && held.judged.next.roots().ders() == roots
        };
        if let Some(held) = held.filter(same) {
            return Ok(Arc::clone(&held.issuers));
        }
        let octets = find(parts, part)?;
        let known = provider.signature_verification_algorithms.all;
        Issuers::read(octets, roots, self.next.trust_domain(), known).map(Arc::new)
    }
}

impl Snapshot {
    /// Whose trust it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        self.judged.next.trust_domain()
    }

    /// The epoch: a number that only the root raises, as after a restored backup.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.judged.manifest.epoch
    }

    /// The number within its epoch; grows with every change of trust.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.judged.manifest.sequence
    }

    /// When it was signed.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.judged.manifest.issued
    }

    /// After this second it is stale.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.judged.manifest.expires
    }

    /// How often its maker would like to be asked for the next.
    #[must_use]
    pub fn refresh_hint(&self) -> Duration {
        self.judged.manifest.refresh_hint
    }

    /// The roots that its roots documents lead to.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        let next = &self.judged.next;
        let sequence = next.roots().version().unwrap_or_default();
        TrustBundle::new(next.trust_domain().clone(), next.roots().ders().to_vec()).with_sequence(sequence)
    }

    /// How many issuers it lists.
    #[must_use]
    pub fn issuer_count(&self) -> usize {
        self.issuers.len()
    }

    /// How many serial numbers it revokes.
    #[must_use]
    pub fn revoked_serials(&self) -> usize {
        self.revoked.iter().map(|chunk| chunk.serials()).sum()
    }

    /// How much memory these serial numbers take.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        self.revoked.iter().map(|chunk| chunk.heap_octets()).sum()
    }

    /// The permission policy in force.
    ///
    /// # Errors
    /// With what is wrong with it, in words with line and column.
    pub fn policy(&self) -> Result<&Arc<Policy>, &str> {
        match &*self.policy {
            Ok(policy) => Ok(policy),
            Err(fault) => Err(fault),
        }
    }

    /// The keys of access tokens: a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn token_keys(&self) -> &[u8] {
        &self.token_keys
    }

    /// The same octets, shared by every snapshot that has them.
    #[cfg(feature = "tokens")]
    pub(crate) const fn shared_token_keys(&self) -> &Arc<[u8]> {
        &self.token_keys
    }

    /// Whether the holder of a token made at `issued` was revoked: its SPIFFE ID, or its lineage.
    #[must_use]
    pub fn revokes_holder(
        &self,
        subject: &SpiffeId,
        lineage: Option<Lineage>,
        issued: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.revoked.iter().any(|chunk| chunk.has_holder(subject, lineage, issued, now))
    }

    /// Whether the certificate with this serial number was revoked, whichever of our issuers signed it: no two of them give the same
    /// random number.
    #[must_use]
    pub fn revokes_serial(&self, serial: Serial, now: Timestamp) -> bool {
        padded(serial.as_bytes())
            .is_some_and(|serial| self.revoked.iter().any(|chunk| chunk.has_serial(&serial, now)))
    }

    /// Whether the API key with this id was revoked.
    #[must_use]
    pub fn revokes_api_key(&self, id: &str) -> bool {
        self.revoked.iter().any(|chunk| chunk.has_api_key(id))
    }

    /// Whether the access token with this id was revoked.
    #[must_use]
    pub fn revokes_token(&self, id: &str) -> bool {
        self.revoked.iter().any(|chunk| chunk.has_token(id))
    }

    /// Whether a certificate is refused: by its serial number, its lineage or its SPIFFE ID.
    #[must_use]
    pub fn revokes(&self, facts: &PeerFacts, now: Timestamp) -> bool {
        let ids: Vec<_> = self.issuers.key_ids(facts.issuer_key()).collect();
        let lists = |chunk: &Arc<Chunk>| ids.iter().any(|issuer| chunk.lists(facts, issuer, now));
        self.revoked.iter().any(lists)
    }

    /// What later snapshots are judged by.
    #[must_use]
    pub fn trusted(&self) -> &Trusted {
        &self.judged.next
    }

    /// Its compact JWS, as it came.
    #[must_use]
    pub fn jws(&self) -> &[u8] {
        &self.judged.jws
    }

    /// The parts it consists of.
    pub fn parts(&self) -> impl Iterator<Item = &PartRef> {
        self.judged.manifest.parts()
    }

    /// The issuers as anchors of paths.
    pub(crate) fn anchors(&self) -> Option<&Roots> {
        self.issuers.anchors()
    }

    /// From when to when a listed issuer can vouch; nothing for one that is not listed.
    pub(crate) fn issuer_validity(&self, key: KeyHash) -> Option<Validity> {
        self.issuers.validity(key)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("trust_domain", self.trust_domain())
            .field("epoch", &self.epoch())
            .field("sequence", &self.sequence())
            .field("issued", &self.issued())
            .finish_non_exhaustive()
    }
}

fn read_policy(octets: &[u8]) -> ReadPolicy {
    let text = match str::from_utf8(octets).map_err(|_| "it is no text".to_owned())? {
        // A CA without a policy: nobody may do anything.
        "" => "version = 1\n",
        text => text,
    };
    Policy::parse(text, "policy.toml").map(Arc::new).map_err(|fault| fault.to_string())
}

fn chunk(part: &PartRef, held: Option<&Snapshot>, parts: &Parts) -> Result<Arc<Chunk>, SnapshotFault> {
    let before = held.and_then(|held| {
        let at = held.judged.manifest.revoked.iter().position(|other| other == part)?;
        held.revoked.get(at)
    });
    if let Some(chunk) = before {
        return Ok(Arc::clone(chunk));
    }
    let malformed = |what| SnapshotFault::PartMalformed { part: "revoked", what };
    Chunk::read(find(parts, part)?).map(Arc::new).map_err(malformed)
}

fn find<'a>(parts: &'a Parts, part: &PartRef) -> Result<&'a [u8], SnapshotFault> {
    let octets = parts.get(&part.sha256).ok_or(SnapshotFault::PartMissing { sha256: part.sha256 })?;
    part.check(octets).map(|()| octets.as_slice())
}

//! The trust snapshot: what verifiers must know now, under the trust signer's signature (DESIGN §4).

use std::{sync::Arc, time::Duration};

use countersign_api::trust::{SNAPSHOT_KIND, TrustFile, TrustPayload};
use countersign_identity::{KeyHash, Timestamp, TrustDomain};

use super::{
    parts::{Part, Parts},
    trust_signer::TrustSigner,
};
use crate::signer::{JwsError, sign_compact};

/// How long a snapshot is fresh. Past it a verifier says that it is stale and goes on until its own limit.
const LIFE: Duration = Duration::from_secs(60 * 60);
/// When it is signed anew though nothing changed: well before half of its life is over.
const SIGNED_ANEW: Duration = Duration::from_secs(20 * 60);
/// How often a reader that does not wait should look.
const REFRESH_SECONDS: u64 = 60;

/// What a snapshot says, before it is signed.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) sequence: u64,
    pub(super) roots: Vec<serde_json::Value>,
    pub(super) issuers: Arc<Part>,
    pub(super) revoked: Vec<Arc<Part>>,
    pub(super) policy: Arc<Part>,
    pub(super) token_keys: Arc<Part>,
}

impl Content {
    /// Every part it names.
    pub(super) fn parts(&self) -> Vec<&Arc<Part>> {
        [&self.issuers, &self.policy, &self.token_keys].into_iter().chain(&self.revoked).collect()
    }
}

/// A signed snapshot with everything that may be asked for beside it.
#[derive(Debug)]
pub struct Snapshot {
    epoch: u64,
    sequence: u64,
    issued: Timestamp,
    signer: KeyHash,
    etag: String,
    jws: Arc<[u8]>,
    named: Vec<Arc<Part>>,
    parts: Parts,
}

impl Snapshot {
    /// Signs what `content` says.
    ///
    /// # Errors
    /// When the pen fails.
    pub(super) async fn sign(
        content: &Content,
        parts: Parts,
        trust_domain: &TrustDomain,
        signer: &TrustSigner,
        now: Timestamp,
    ) -> Result<Self, JwsError> {
        let epoch = signer.certificate().epoch;
        let payload = TrustPayload {
            trust_domain: trust_domain.to_string(),
            epoch,
            sequence: content.sequence,
            issued: now.to_string(),
            expires: (now + LIFE).to_string(),
            refresh_hint: REFRESH_SECONDS,
            roots: content.roots.clone(),
            issuers: content.issuers.reference(),
            revoked: content.revoked.iter().map(|part| part.reference()).collect(),
            policy: content.policy.reference(),
            token_keys: content.token_keys.reference(),
        };
        // A struct of texts and numbers always has a JSON form.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        let jws = sign_compact(SNAPSHOT_KIND, &payload, &signer.certificate().der, signer.pen()).await?;
        Ok(Self {
            epoch,
            sequence: content.sequence,
            issued: now,
            signer: signer.certificate().key_hash,
            etag: format!("\"{epoch}-{}-{}\"", content.sequence, now.unix()),
            jws: jws.into_bytes().into(),
            named: content.parts().into_iter().cloned().collect(),
            parts,
        })
    }

    /// The epoch it was signed for.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The trust sequence it shows.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was signed.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// The key that signed it.
    pub(super) fn signer(&self) -> KeyHash {
        self.signer
    }

    /// What it is known by over HTTP.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The compact JWS.
    #[must_use]
    pub fn jws(&self) -> &Arc<[u8]> {
        &self.jws
    }

    /// The part with this SHA-256, of this snapshot or a recent one.
    #[must_use]
    pub fn part(&self, sha256: &[u8; 32]) -> Option<&Arc<Part>> {
        self.parts.get(sha256)
    }

    /// Whether it names this part itself.
    pub(super) fn names(&self, part: &Part) -> bool {
        self.named.iter().any(|named| named.reference() == part.reference())
    }

    /// It and every part it names, in one file.
    #[must_use]
    pub fn file(&self) -> TrustFile {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let parts = self.named.iter().map(|part| (part.reference().sha256, STANDARD.encode(part.octets())));
        TrustFile {
            countersign_trust: 1,
            snapshot: String::from_utf8_lossy(&self.jws).into_owned(),
            parts: parts.collect(),
        }
    }

    /// Whether it should be signed anew: in good time before it is stale, or because the clock was set back since.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        now >= self.issued + SIGNED_ANEW || now + SIGNED_ANEW < self.issued
    }
}

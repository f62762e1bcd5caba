//! A public key whose holder has shown to hold the private half

use countersign_identity::KeyHash;
use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::csr::{Csr, CsrError};
use crate::key::KeyKind;
use crate::requested::Requested;

/// A key taken from a signing request that its private half has signed.
///
/// Of the request nothing else survives (Invariant 1): its subject is gone, and the names and extensions it asked for
/// are kept only so that [`approve`](crate::approve) can refuse a caller who expects other ones than it would get.
#[derive(Debug, Clone)]
pub struct ProvenKey {
    kind: KeyKind,
    spki: Vec<u8>,
    hash: KeyHash,
    id: Vec<u8>,
    requested: Requested,
}

impl ProvenKey {
    /// Reads a PKCS#10 request and verifies its signature with the one of `algorithms` that fits.
    ///
    /// # Errors
    /// When the request is malformed, its key of a kind that is never certified, or its signature wrong.
    pub fn from_csr(
        der: &[u8],
        algorithms: &[&'static dyn SignatureVerificationAlgorithm],
    ) -> Result<Self, CsrError> {
        let csr = Csr::read(der)?;
        let algorithm = algorithms.iter().find(|candidate| {
            candidate.public_key_alg_id().as_ref() == csr.key.algorithm
                && candidate.signature_alg_id().as_ref() == csr.signature_algorithm
        });
        let Some(algorithm) = algorithm else {
            return Err(CsrError::UnsupportedSignature {
                found: csr.signature_algorithm_name(),
                kind: csr.key.kind,
            });
        };
        algorithm
            .verify_signature(csr.key.bits, csr.signed, csr.signature)
            .map_err(|_| CsrError::BadSignature)?;
        Ok(ProvenKey {
            kind: csr.key.kind,
            spki: csr.key.spki.to_vec(),
            hash: csr.key.hash(),
            id: csr.key.id(),
            requested: csr.requested,
        })
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.hash
    }

    /// The SubjectPublicKeyInfo (DER).
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Its subject key identifier.
    pub(crate) fn key_id(&self) -> &[u8] {
        &self.id
    }

    pub(crate) const fn requested(&self) -> &Requested {
        &self.requested
    }
}

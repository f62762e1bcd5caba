//! Keys that nobody holds and a pen that signs nothing: a fleet of a million costs no elliptic curves.
//!
//! What reaches the book is of the same form and size as in life. Such a machine never calls: it is there to be stored.

use anyhow::{Context as _, Result};
use countersign_issuance::{BoxFuture, IssuerCertificate, ProvenKey, Signer, SignerError, SigningAlgorithm};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// Octets of a P-256 point behind the one that says it is not compressed.
const POINT: usize = 64;

/// Draws keys, serials and other octets from a seed.
pub struct Ghosts {
    dice: StdRng,
    request: Vec<u8>,
    /// Where in the request the point stands.
    point: usize,
}

impl Ghosts {
    /// The same seed, the same octets.
    ///
    /// # Errors
    /// If no request can be made to copy from.
    pub fn new(seed: u64) -> Result<Self> {
        let key = KeyPair::generate()?;
        let request = CertificateParams::default().serialize_request(&key)?.der().to_vec();
        let spki = key.subject_public_key_info();
        let own = spki.get(spki.len() - POINT..).context("a P-256 key is longer than its point")?;
        let point = request.windows(POINT).position(|part| part == own).context("a request holds its key")?;
        Ok(Self { dice: StdRng::seed_from_u64(seed), request, point })
    }

    /// The next octets.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.dice.fill_bytes(&mut octets);
        octets
    }

    /// A key that nobody holds, "proven" by a request whose signature is not looked at.
    ///
    /// # Errors
    /// Never, as long as the request is read as it was written.
    pub fn key(&mut self) -> Result<ProvenKey> {
        let point = self.octets::<POINT>();
        let place =
            self.request.get_mut(self.point..self.point + POINT).context("the point has its place")?;
        place.copy_from_slice(&point);
        Ok(ProvenKey::from_csr(&self.request, &[&Unchecked])?)
    }
}

/// Takes every P-256 signature for good.
#[derive(Debug)]
struct Unchecked;

impl SignatureVerificationAlgorithm for Unchecked {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

/// Stands in for an issuer's pen and writes a signature of the right form that is none.
pub struct BlankPen(IssuerCertificate);

impl BlankPen {
    /// In the place of this issuer's.
    #[must_use]
    pub const fn of(issuer: IssuerCertificate) -> Self {
        Self(issuer)
    }
}

impl Signer for BlankPen {
    fn public_key(&self) -> &[u8] {
        self.0.spki()
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.0.algorithm()
    }

    /// An `Ecdsa-Sig-Value` (RFC 3279 §2.2.3) of two numbers of 32 octets.
    fn sign<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>> {
        const NUMBER: [u8; 34] = {
            let mut number = [0x55; 34];
            number[0] = 0x02;
            number[1] = 32;
            number
        };
        Box::pin(async { Ok([&[0x30, 68][..], &NUMBER, &NUMBER].concat()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ghost_has_a_key_of_its_own_and_the_same_seed_gives_the_same() {
        let (mut some, mut others) = (Ghosts::new(7).unwrap(), Ghosts::new(7).unwrap());
        let (first, second) = (some.key().unwrap(), some.key().unwrap());
        assert_ne!(first.key_hash(), second.key_hash());
        assert_eq!(others.key().unwrap().key_hash(), first.key_hash());
    }
}

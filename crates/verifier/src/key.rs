//! Public keys in certificates (RFC 5280 §4.1.2.7): their form, their size, and whether anybody here can use them.

use countersign_identity::KeyHash;
use rustls::pki_types::SignatureVerificationAlgorithm;
use sha2::{Digest, Sha256};

use crate::certificate::algorithm;
use crate::der::{DerFault, Reader, SEQUENCE, Value};

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1];
const ELLIPTIC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// A `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublicKey<'a> {
    pub(crate) whole: &'a [u8],
    /// The content of its `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    key: &'a [u8],
}

/// The rules a public key can break.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyRule {
    /// Nobody here can verify its signatures.
    #[error("it is of a kind or on a curve that the cryptography in use does not verify")]
    Kind,
    /// RSA keys have 2048 to 8192 bits, in whole octets (SP 800-131A; what ring and aws-lc verify).
    #[error("its RSA modulus has {found} bits, expected 2048 to 8192 in whole octets")]
    ModulusSize {
        /// How many.
        found: usize,
    },
    /// An RSA exponent is odd and at least three (RFC 8017 §3.1).
    #[error("its RSA exponent is even or less than 3")]
    Exponent,
    /// A point on a curve is not compressed and as long as the curve demands (RFC 5480 §2.2; RFC 8446 §4.2.8.2).
    #[error("its point on the curve is not written uncompressed and in full")]
    Point,
}

impl<'a> PublicKey<'a> {
    pub(crate) fn read(value: Value<'a>) -> Result<Self, DerFault> {
        let mut fields = Reader::new(value.content);
        let algorithm = fields.value(SEQUENCE).and_then(algorithm)?;
        let key = fields.octets_in_bits()?;
        fields.end()?;
        Ok(Self { whole: value.whole, algorithm, key })
    }

    /// SHA-256 of the whole.
    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::from_bytes(Sha256::digest(self.whole).into())
    }

    /// Whether it is of the kind this `AlgorithmIdentifier`, without its tag and length, says.
    pub(crate) fn is_of(&self, algorithm: &[u8]) -> bool {
        self.algorithm == algorithm
    }

    /// Whether its signatures can be verified at all.
    pub(crate) fn is_known(&self, known: &[&dyn SignatureVerificationAlgorithm]) -> Result<(), KeyRule> {
        let same =
            |one: &&dyn SignatureVerificationAlgorithm| one.public_key_alg_id().as_ref() == self.algorithm;
        if known.iter().any(same) { Ok(()) } else { Err(KeyRule::Kind) }
    }

    /// Whether it is written in full, and not weak in itself.
    pub(crate) fn is_strong(&self) -> Result<(), KeyRule> {
        match Reader::new(self.algorithm).oid() {
            Ok(RSA) => self.is_good_rsa(),
            Ok(ELLIPTIC) => self.is_full_point(),
            _ => Ok(()),
        }
    }

    /// Whether it made this signature, of an algorithm given by its identifier's content.
    pub(crate) fn signed(
        &self,
        known: &[&dyn SignatureVerificationAlgorithm],
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        known
            .iter()
            .filter(|one| one.signature_alg_id().as_ref() == algorithm)
            .filter(|one| one.public_key_alg_id().as_ref() == self.algorithm)
            .any(|one| one.verify_signature(self.key, message, signature).is_ok())
    }

    fn is_good_rsa(&self) -> Result<(), KeyRule> {
        let (modulus, exponent) = rsa(self.key).map_err(|_| KeyRule::Kind)?;
        let found = bit_length(modulus);
        if !(2048..=8192).contains(&found) || !found.is_multiple_of(8) {
            return Err(KeyRule::ModulusSize { found });
        }
        let odd = exponent.last().is_some_and(|last| last & 1 == 1);
        if odd && bit_length(exponent) >= 2 { Ok(()) } else { Err(KeyRule::Exponent) }
    }

    fn is_full_point(&self) -> Result<(), KeyRule> {
        // P-256, P-384 and P-521; that the curve is the algorithm's, its verification shows.
        match (self.key.first(), self.key.len()) {
            (Some(4), 65 | 97 | 133) => Ok(()),
            _ => Err(KeyRule::Point),
        }
    }
}

/// Modulus and exponent, both positive.
fn rsa(key: &[u8]) -> Result<(&[u8], &[u8]), DerFault> {
    let mut file = Reader::new(key);
    let mut fields = file.inside(SEQUENCE)?;
    file.end()?;
    let (modulus, exponent) = (fields.integer()?, fields.integer()?);
    fields.end()?;
    let positive = |number: &[u8]| number.first().is_some_and(|first| first & 0x80 == 0);
    if positive(modulus) && positive(exponent) { Ok((modulus, exponent)) } else { Err(DerFault::Value) }
}

fn bit_length(number: &[u8]) -> usize {
    let number = match number {
        [0, rest @ ..] => rest,
        all => all,
    };
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or_default())
}

//! What is checked around the pen: that it is the right one, and that what it wrote is a signature

use crate::der::{Reader, tag, walk};
use crate::signer::{Signer, SignerError, SigningAlgorithm};

/// The signer holds the issuer's key and uses the algorithm that the bytes name.
pub(crate) fn check_signer<S: Signer + ?Sized>(
    signer: &S,
    spki: &[u8],
    algorithm: SigningAlgorithm,
) -> Result<(), SignerError> {
    if signer.public_key() != spki {
        return Err(SignerError::WrongKey);
    }
    if signer.algorithm() != algorithm {
        return Err(SignerError::WrongAlgorithm { found: signer.algorithm(), expected: algorithm });
    }
    Ok(())
}

/// The form alone: verifying would cost more than signing, and a wrong signature harms nobody but its holder.
pub(crate) fn check_form(signature: &[u8], algorithm: SigningAlgorithm) -> Result<(), SignerError> {
    let formed = match algorithm {
        SigningAlgorithm::EcdsaP256Sha256 => is_ecdsa(signature, 32),
        SigningAlgorithm::EcdsaP384Sha384 => is_ecdsa(signature, 48),
        SigningAlgorithm::Ed25519 => signature.len() == 64,
    };
    if formed { Ok(()) } else { Err(SignerError::Malformed { found: signature.len(), expected: algorithm }) }
}

/// Ecdsa-Sig-Value (RFC 3279 §2.2.3): two positive numbers of at most the curve's size.
fn is_ecdsa(signature: &[u8], octets: usize) -> bool {
    let mut outer = Reader::new(signature);
    let Ok(mut numbers) = outer.sequence() else {
        return false;
    };
    let mut positive = || {
        numbers.expect(tag::INTEGER).is_ok_and(|number| match number.content {
            [0, magnitude @ ..] => (1..=octets).contains(&magnitude.len()),
            [0x01..=0x7f, ..] => number.content.len() <= octets,
            _ => false,
        })
    };
    positive()
        && positive()
        && numbers.finish().is_ok()
        && outer.finish().is_ok()
        && walk(signature, 2).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_positive_numbers_make_an_ecdsa_signature() {
        let p256 = |signature: &[u8]| check_form(signature, SigningAlgorithm::EcdsaP256Sha256).is_ok();
        assert!(p256(&[0x30, 6, 2, 1, 1, 2, 1, 1]));
        assert!(p256(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]));
        assert!(!p256(&[0; 64]), "the fixed form of IEEE P1363");
        assert!(!p256(&[]));
        assert!(!p256(&[0x30, 3, 2, 1, 1]), "one number");
        assert!(!p256(&[0x30, 6, 2, 1, 0, 2, 1, 1]), "zero");
        assert!(!p256(&[0x30, 6, 2, 1, 0x80, 2, 1, 1]), "negative");
        assert!(!p256(&[0x30, 7, 2, 2, 0, 1, 2, 1, 1]), "not minimal");
        assert!(!p256(&[0x30, 6, 2, 1, 1, 2, 1, 1, 0]), "trailing");
        let long = [&[0x30, 38, 2, 33, 1][..], &[0; 32], &[2, 1, 1]].concat();
        assert!(!p256(&long), "larger than the curve");
        assert!(check_form(&long, SigningAlgorithm::EcdsaP384Sha384).is_ok());
    }

    #[test]
    fn an_ed25519_signature_has_64_octets() {
        assert!(check_form(&[7; 64], SigningAlgorithm::Ed25519).is_ok());
        assert!(check_form(&[7; 63], SigningAlgorithm::Ed25519).is_err());
    }
}

//! ES256 signatures of others (RFC 7518 §3.4), judged by the algorithms of the TLS provider.

use rustls_pki_types::{SignatureVerificationAlgorithm, alg_id};

/// The signatures this build can check.
pub type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

/// Whether `signature` (r ‖ s, 64 octets) over `message` is of the P-256 key with these coordinates.
#[must_use]
pub fn verifies(algorithms: Algorithms, (x, y): (&[u8], &[u8]), message: &[u8], signature: &[u8]) -> bool {
    let algorithm = algorithms.iter().find(|one| {
        one.public_key_alg_id() == alg_id::ECDSA_P256 && one.signature_alg_id() == alg_id::ECDSA_SHA256
    });
    let point = [&[0x04], x, y].concat();
    let Some((algorithm, der)) = algorithm.zip(der(signature)) else { return false };
    algorithm.verify_signature(&point, message, &der).is_ok()
}

/// r ‖ s as `SEQUENCE { INTEGER r, INTEGER s }` (RFC 3279 §2.2.3).
fn der(raw: &[u8]) -> Option<Vec<u8>> {
    let raw: &[u8; 64] = raw.try_into().ok()?;
    let (r, s) = raw.split_at(32);
    let mut body = Vec::with_capacity(72);
    for half in [r, s] {
        let value: Vec<u8> = half.iter().copied().skip_while(|octet| *octet == 0).collect();
        // A leading bit would make it negative; nothing at all is no number.
        let padded = value.first().is_none_or(|first| first & 0x80 != 0);
        body.push(0x02);
        body.push(u8::try_from(value.len() + usize::from(padded)).ok()?);
        body.extend(padded.then_some(0));
        body.extend(value);
    }
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.append(&mut body);
    Some(der)
}

#[cfg(test)]
mod tests {
    use countersign_issuance::Signer as _;

    use super::*;
    use crate::signer::{FileSigner, TokenKind, TokenPen, coordinates, new_key};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    #[tokio::test]
    async fn what_our_pen_signs_verifies_under_its_key_and_no_other() {
        let algorithms = countersign_verifier::provider().signature_verification_algorithms.all;
        let (key, other) = (FileSigner::new(new_key().unwrap()), FileSigner::new(new_key().unwrap()));
        let (spki, foreign) = (key.public_key().to_vec(), other.public_key().to_vec());
        let pen = TokenPen::new(TokenKind::Access, key).unwrap();
        for n in 0..64 {
            let token = pen.sign(format!("{{\"n\":{n}}}").as_bytes()).await.unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let good = |spki: &[u8], message: &[u8], signature: &[u8]| {
                verifies(algorithms, coordinates(spki).unwrap(), message, signature)
            };
            assert!(good(&spki, message.as_bytes(), &signature));
            assert!(!good(&foreign, message.as_bytes(), &signature));
            assert!(!good(&spki, b"another", &signature));
            signature[n] ^= 1;
            assert!(!good(&spki, message.as_bytes(), &signature));
        }
        assert!(!verifies(algorithms, coordinates(&spki).unwrap(), b"", &[0; 64]));
        assert!(!verifies(algorithms, coordinates(&spki).unwrap(), b"", &[]));
    }
}

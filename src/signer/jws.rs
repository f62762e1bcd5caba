//! JSON Web Signatures, general (RFC 7515 §7.2.1) and compact (§7.1), ES256 only (RFC 7518 §3.4).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_issuance::{Signer, SignerError};
use serde_json::{Value, json};

/// Why a document was not signed.
#[derive(Debug, thiserror::Error)]
pub enum JwsError {
    /// The pen failed.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The pen made something that is no ECDSA signature.
    #[error("the signer returned {0} octets that are no DER-encoded P-256 signature")]
    Signature(usize),
}

/// One signer and the key id its signature carries.
pub struct Signature<'a> {
    /// `kid` of the protected header.
    pub kid: &'a str,
    /// The pen.
    pub signer: &'a dyn Signer,
}

/// Signs `payload` by each of `signers`, in the general JSON serialization.
///
/// # Errors
/// When a pen fails.
pub async fn sign_general(kind: &str, payload: &[u8], signers: &[Signature<'_>]) -> Result<Value, JwsError> {
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let mut signatures = Vec::with_capacity(signers.len());
    for one in signers {
        let header = json!({ "alg": "ES256", "kid": one.kid, "typ": kind });
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let signature = signed(&format!("{protected}.{payload}"), one.signer).await?;
        signatures.push(json!({ "protected": protected, "signature": signature }));
    }
    Ok(json!({ "payload": payload, "signatures": signatures }))
}

/// Signs `payload` in the compact serialization; `certificate` (DER) is the signer's and travels in the header
/// (RFC 7515 §4.1.6).
///
/// # Errors
/// When the pen fails.
pub async fn sign_compact(
    kind: &str,
    payload: &[u8],
    certificate: &[u8],
    signer: &dyn Signer,
) -> Result<String, JwsError> {
    let header = json!({ "alg": "ES256", "typ": kind, "x5c": [STANDARD.encode(certificate)] });
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let signature = signed(&input, signer).await?;
    Ok(format!("{input}.{signature}"))
}

/// Signs `payload` under a header that is encoded already.
///
/// # Errors
/// When the pen fails.
pub(super) async fn sign_under(
    header: &str,
    payload: &[u8],
    signer: &dyn Signer,
) -> Result<String, JwsError> {
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let signature = signed(&input, signer).await?;
    Ok(format!("{input}.{signature}"))
}

async fn signed(input: &str, signer: &dyn Signer) -> Result<String, JwsError> {
    let der = signer.sign(input.as_bytes()).await?;
    let raw = raw_signature(&der).ok_or(JwsError::Signature(der.len()))?;
    Ok(URL_SAFE_NO_PAD.encode(raw))
}

/// `SEQUENCE { INTEGER r, INTEGER s }` as the 64 octets r ‖ s that JWS wants.
fn raw_signature(der: &[u8]) -> Option<[u8; 64]> {
    let (r, rest) = integer(der.strip_prefix(&[0x30, u8::try_from(der.len().checked_sub(2)?).ok()?])?)?;
    let (s, rest) = integer(rest)?;
    let mut raw = [0; 64];
    let (left, right) = raw.split_at_mut(32);
    left.get_mut(32_usize.checked_sub(r.len())?..)?.copy_from_slice(r);
    right.get_mut(32_usize.checked_sub(s.len())?..)?.copy_from_slice(s);
    rest.is_empty().then_some(raw)
}

/// A positive INTEGER of fewer than 128 octets, without its leading zeros, and what follows it.
fn integer(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[0x02, length], rest) = der.split_first_chunk::<2>()? else { return None };
    let (mut value, rest) = rest.split_at_checked(length.into())?;
    while let [0, more @ ..] = value {
        value = more;
    }
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_padded_integers_fill_their_halves() {
        let raw = raw_signature(&[0x30, 7, 2, 1, 5, 2, 2, 0, 0x80]).unwrap();
        assert_eq!((raw[31], raw[63]), (5, 0x80));
        assert!(raw.iter().filter(|b| **b != 0).count() == 2);
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        for bad in [&[][..], &[0x30], &[0x30, 3, 2, 1, 5], &[0x30, 8, 2, 1, 5, 2, 2, 0, 0x80, 9]] {
            assert_eq!(raw_signature(bad), None);
        }
        let long = [&[0x30, 38, 2, 33, 1][..], &[1; 32], &[2, 1, 5]].concat();
        assert_eq!(raw_signature(&long), None);
    }
}

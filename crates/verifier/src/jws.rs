//! JSON Web Signatures (RFC 7515) in the two forms that trust and tokens travel in, and ES256 (RFC 7518 §3.4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::{SignatureVerificationAlgorithm, alg_id};
use serde::Deserialize;

#[cfg(feature = "tokens")]
use crate::der::{Reader, SEQUENCE};
use crate::key::PublicKey;

/// A signature by ES256 is two numbers of so many octets (RFC 7518 §3.4).
const HALF: usize = 32;

/// The compact form (RFC 7515 §7.1), taken apart and not yet believed.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    pub(crate) header: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

/// The general JSON form (RFC 7515 §7.2.1).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct General {
    pub(crate) payload: String,
    pub(crate) signatures: Vec<OneOfSeveral>,
}

/// One signature of a [`General`].
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OneOfSeveral {
    protected: String,
    signature: String,
}

impl<'a> Compact<'a> {
    pub(crate) fn read(octets: &'a [u8]) -> Result<Self, String> {
        let text = str::from_utf8(octets).map_err(|_| "it is no text".to_owned())?;
        let three = || "it has not the three parts of a compact JWS".to_owned();
        let (signed, signature) = text.rsplit_once('.').ok_or_else(three)?;
        let (header, payload) = signed.split_once('.').ok_or_else(three)?;
        Ok(Self {
            header: decode("header", header)?,
            payload: decode("payload", payload)?,
            signed,
            signature: decode("signature", signature)?,
        })
    }

    pub(crate) fn is_signed_by(
        &self,
        key: &PublicKey<'_>,
        known: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        es256(key, self.signed.as_bytes(), &self.signature, known)
    }
}

impl General {
    pub(crate) fn payload(&self) -> Result<Vec<u8>, String> {
        decode("payload", &self.payload)
    }
}

impl OneOfSeveral {
    pub(crate) fn header(&self) -> Result<Vec<u8>, String> {
        decode("header of a signature", &self.protected)
    }

    /// Whether this key signed `payload`, given as it stands in the document, under this header.
    pub(crate) fn is_by(
        &self,
        key: &PublicKey<'_>,
        payload: &str,
        known: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        let signed = [self.protected.as_str(), payload].join(".");
        decode("signature", &self.signature)
            .is_ok_and(|signature| es256(key, signed.as_bytes(), &signature, known))
    }
}

fn decode(part: &str, text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|fault| format!("its {part} is no base64url: {fault}"))
}

/// ES256 is ECDSA on P-256 with SHA-256, the signature r ‖ s; no other key will do, whatever else could verify it.
fn es256(
    key: &PublicKey<'_>,
    message: &[u8],
    signature: &[u8],
    known: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    key.is_of(alg_id::ECDSA_P256.as_ref())
        && to_der(signature)
            .is_some_and(|der| key.signed(known, alg_id::ECDSA_SHA256.as_ref(), message, &der))
}

/// `SEQUENCE { INTEGER r, INTEGER s }` (RFC 3279 §2.2.3) of 64 octets r ‖ s.
pub(crate) fn to_der(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(HALF).filter(|(_, s)| s.len() == HALF)?;
    let content = [integer(r)?, integer(s)?].concat();
    // Two integers of at most 35 octets each: the length takes one octet.
    let mut der = vec![0x30, u8::try_from(content.len()).ok()?];
    der.extend(content);
    Some(der)
}

/// The 64 octets r ‖ s (RFC 7518 §3.4) of what [`to_der`] makes.
#[cfg(feature = "tokens")]
pub(crate) fn from_der(der: &[u8]) -> Option<[u8; 2 * HALF]> {
    let mut outside = Reader::new(der);
    let mut inside = outside.inside(SEQUENCE).ok()?;
    let mut signature = [0; 2 * HALF];
    for half in signature.chunks_exact_mut(HALF) {
        let number = inside.integer().ok()?;
        let digits = number.strip_prefix(&[0]).unwrap_or(number);
        half.get_mut(HALF.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    }
    inside.end().and(outside.end()).ok()?;
    Some(signature)
}

pub(crate) fn integer(number: &[u8]) -> Option<Vec<u8>> {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    let digits = number.get(zeros..)?;
    let sign: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
    let length = u8::try_from(sign.len() + digits.len()).ok()?;
    Some([&[0x02, length], sign, digits].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_becomes_der_in_its_one_form() {
        let mut raw = [0; 64];
        raw[31] = 5;
        raw[63] = 0x80;
        assert_eq!(to_der(&raw), Some(vec![0x30, 7, 2, 1, 5, 2, 2, 0, 0x80]));
        assert_eq!(to_der(&[0xff; 64]).map(|der| der.len()), Some(2 + 2 * 35));
    }

    #[cfg(feature = "tokens")]
    #[test]
    fn a_signature_comes_back_from_der_and_nothing_else_does() {
        let mut raw = [0; 64];
        raw[31] = 5;
        raw[32] = 0xff;
        assert_eq!(from_der(&to_der(&raw).expect("a pair")), Some(raw));
        assert_eq!(from_der(&to_der(&[0x80; 64]).expect("a pair")), Some([0x80; 64]));
        let mut longer = to_der(&raw).expect("a pair");
        longer.push(0);
        assert_eq!(from_der(&longer), None);
        assert_eq!(from_der(&[0x30, 3, 2, 1, 1]), None);
        assert_eq!(from_der(&[]), None);
    }

    #[test]
    fn what_is_no_pair_of_positive_numbers_is_no_signature() {
        assert_eq!(to_der(&[0; 64]), None);
        assert_eq!(to_der(&[1; 63]), None);
        assert_eq!(to_der(&[1; 65]), None);
        assert_eq!(to_der(&[]), None);
    }
}

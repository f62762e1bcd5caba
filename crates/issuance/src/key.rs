//! Public keys: which kinds are certified, and in which single encoding

use std::fmt;
use std::str::FromStr;

use countersign_identity::KeyHash;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::der::{DerError, Reader, Tlv, bit_string_without_unused, oid, tag};

/// The kinds of key a certificate may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// ECDSA on P-256: what every SPIFFE library reads, hence the default.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519: Go's and Java's SPIFFE libraries do not take it everywhere, hence by profile only.
    Ed25519,
}

impl KeyKind {
    /// All kinds, in the order of preference.
    pub const ALL: [KeyKind; 3] = [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519];

    /// The word used in profiles and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyKind::P256 => "p256",
            KeyKind::P384 => "p384",
            KeyKind::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no key kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{found:?} is no kind of key, expected p256, p384 or ed25519")]
pub struct KeyKindError {
    found: String,
}

impl FromStr for KeyKind {
    type Err = KeyKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        KeyKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| KeyKindError { found: text.to_owned() })
    }
}

/// A SubjectPublicKeyInfo in the one encoding accepted for its key: so that a key hash names a key, and the same key
/// cannot come back under another hash (Invariant 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKey<'a> {
    pub(crate) kind: KeyKind,
    /// The whole SubjectPublicKeyInfo.
    pub(crate) spki: &'a [u8],
    /// The content of its AlgorithmIdentifier.
    pub(crate) algorithm: &'a [u8],
    /// The subjectPublicKey bits.
    pub(crate) bits: &'a [u8],
}

/// Why a SubjectPublicKeyInfo is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No SubjectPublicKeyInfo.
    #[error("not a public key: {0}")]
    Malformed(#[from] DerError),
    /// A key, but of a kind that is not certified.
    #[error("found a key of the kind {found}, expected p256, p384 or ed25519")]
    Unsupported {
        /// What it is.
        found: String,
    },
    /// A key of a certified kind that nobody may use.
    #[error("{0}")]
    Weak(&'static str),
}

impl<'a> PublicKey<'a> {
    /// Reads a SubjectPublicKeyInfo with nothing behind it.
    pub(crate) fn read(spki: &'a [u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(spki);
        let value = reader.expect(tag::SEQUENCE)?;
        reader.finish()?;
        PublicKey::from_value(value)
    }

    pub(crate) fn from_value(value: Tlv<'a>) -> Result<Self, KeyError> {
        let mut fields = Reader::new(value.content);
        let algorithm = fields.expect(tag::SEQUENCE)?.content;
        let bits = fields.expect(tag::BIT_STRING)?.content;
        fields.finish()?;
        let kind = kind(algorithm)?;
        let bits = bit_string_without_unused(bits)?;
        let key = PublicKey { kind, spki: value.raw, algorithm, bits };
        key.check_bits()?;
        Ok(key)
    }

    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::from_bytes(Sha256::digest(self.spki).into())
    }

    /// The key identifier of RFC 7093 §2 method 1: the first 160 bits of SHA-256 of the key's bits.
    pub(crate) fn id(&self) -> Vec<u8> {
        Sha256::digest(self.bits).iter().copied().take(20).collect()
    }

    /// The form of the key. That a point lies on its curve is shown by whoever verifies a signature with it.
    fn check_bits(&self) -> Result<(), KeyError> {
        match (self.kind, self.bits) {
            // SEC 1 §2.3.3: 04 and both coordinates. RFC 5480 §2.2 makes the compressed form optional.
            (KeyKind::P256, [0x04, point @ ..]) if point.len() == 64 => Ok(()),
            (KeyKind::P384, [0x04, point @ ..]) if point.len() == 96 => Ok(()),
            (KeyKind::P256 | KeyKind::P384, _) => {
                Err(DerError::Value("an elliptic curve key is an uncompressed point of its curve's size")
                    .into())
            }
            (KeyKind::Ed25519, bits) => {
                let Ok(point) = <&[u8; 32]>::try_from(bits) else {
                    return Err(DerError::Value("an Ed25519 key has 32 octets").into());
                };
                check_ed25519(point)
            }
        }
    }
}

/// Refuses the points that verify signatures nobody made (small order), and second encodings of a point.
fn check_ed25519(point: &[u8; 32]) -> Result<(), KeyError> {
    let mut y = *point;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    // p = 2^255 - 19 is ed ff … ff 7f; from there up, y is a second spelling of y - p (RFC 8032 §5.1.3).
    if let [first @ 0xed..=0xff, middle @ .., 0x7f] = &y
        && *first >= 0xed
        && middle.iter().all(|octet| *octet == 0xff)
    {
        return Err(KeyError::Weak("the Ed25519 key is not in its canonical encoding"));
    }
    if SMALL_ORDER.contains(&y) {
        return Err(KeyError::Weak("the Ed25519 key is a point of small order, for which anybody can sign"));
    }
    Ok(())
}

/// The y coordinates of the eight points whose order divides 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
];

/// The kind an AlgorithmIdentifier (its content) names. Named curves only, parameters of Ed25519 absent.
fn kind(algorithm: &[u8]) -> Result<KeyKind, KeyError> {
    let mut fields = Reader::new(algorithm);
    let family = fields.expect(tag::OBJECT_IDENTIFIER)?.content;
    let unsupported = |found: String| Err(KeyError::Unsupported { found });
    match family {
        oid::EC_PUBLIC_KEY => {
            let parameters = fields.next()?;
            fields.finish()?;
            if parameters.tag != tag::OBJECT_IDENTIFIER {
                return unsupported("elliptic curve without a name".to_owned());
            }
            match parameters.content {
                oid::SECP256R1 => Ok(KeyKind::P256),
                oid::SECP384R1 => Ok(KeyKind::P384),
                oid::SECP521R1 => unsupported("P-521".to_owned()),
                oid::SECP256K1 => unsupported("secp256k1".to_owned()),
                other => unsupported(format!("elliptic curve {}", oid::dotted(other))),
            }
        }
        oid::ED25519 => {
            fields.finish()?;
            Ok(KeyKind::Ed25519)
        }
        oid::RSA | oid::RSA_PSS => unsupported("RSA".to_owned()),
        oid::ED448 => unsupported("Ed448".to_owned()),
        other => unsupported(oid::dotted(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::Writer;

    fn spki(algorithm: &[&[u8]], bits: &[u8]) -> Vec<u8> {
        let mut w = Writer::default();
        w.sequence(|w| {
            w.sequence(|w| algorithm.iter().for_each(|oid| w.oid(oid)));
            w.bit_string(bits);
        });
        w.into_bytes()
    }

    fn weak(bits: [u8; 32]) -> bool {
        matches!(PublicKey::read(&spki(&[oid::ED25519], &bits)), Err(KeyError::Weak(_)))
    }

    #[test]
    fn kinds_are_read_as_they_are_shown() {
        for kind in KeyKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("rsa".parse::<KeyKind>().unwrap_err().to_string().contains("\"rsa\""));
    }

    #[test]
    fn a_point_has_one_encoding_only() {
        let p256 = [oid::EC_PUBLIC_KEY, oid::SECP256R1];
        let uncompressed = [&[0x04][..], &[7; 64]].concat();
        assert_eq!(PublicKey::read(&spki(&p256, &uncompressed)).unwrap().kind, KeyKind::P256);
        for bits in [[&[0x02][..], &[7; 32]].concat(), [&[0x06][..], &[7; 64]].concat(), vec![0x00], vec![]] {
            assert!(PublicKey::read(&spki(&p256, &bits)).is_err());
        }
    }

    #[test]
    fn ed25519_points_of_small_order_are_refused() {
        for mut point in SMALL_ORDER {
            assert!(weak(point));
            point[31] |= 0x80;
            assert!(weak(point), "the sign of x changes nothing");
        }
        assert!(!weak([9; 32]));
    }

    #[test]
    fn ed25519_points_have_one_encoding_only() {
        for first in 0xed..=0xff {
            let mut point = [0xff; 32];
            point[0] = first;
            assert!(weak(point));
            point[31] = 0x7f;
            assert!(weak(point));
        }
        let mut largest = [0xff; 32];
        largest[0] = 0xeb;
        largest[31] = 0x7f;
        assert!(!weak(largest));
    }

    #[test]
    fn refused_kinds_are_called_by_their_name() {
        for (algorithm, name) in [
            (&[oid::RSA][..], "RSA"),
            (&[oid::EC_PUBLIC_KEY, oid::SECP521R1], "P-521"),
            (&[oid::ED448], "Ed448"),
            (&[oid::EC_PUBLIC_KEY, oid::COMMON_NAME], "elliptic curve 2.5.4.3"),
        ] {
            let error = PublicKey::read(&spki(algorithm, &[4; 65])).unwrap_err();
            assert_eq!(error, KeyError::Unsupported { found: name.to_owned() });
        }
    }
}

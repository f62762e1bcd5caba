//! A strict reader of certificate signing requests (PKCS#10, RFC 2986)

use thiserror::Error;

use crate::der::{DerError, Reader, Tlv, bit_string_without_unused, oid, tag, walk};
use crate::key::{KeyError, PublicKey};
use crate::requested::{self, Requested};

/// The largest request that is read. An honest one with a dozen names stays below 2 KiB.
pub const MAX_CSR: usize = 8 * 1024;

/// Values nested deeper than this are refused. Requests that tools make reach 9.
const MAX_DEPTH: usize = 16;

/// A well-formed signing request: nothing about it is proven yet.
///
/// Its subject is skipped and its attributes are read only to see what was asked for.
#[derive(Debug, Clone)]
pub struct Csr<'a> {
    pub(crate) signed: &'a [u8],
    pub(crate) key: PublicKey<'a>,
    pub(crate) signature_algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) requested: Requested,
}

/// Why a signing request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CsrError {
    /// More bytes than any honest request has.
    #[error("the request has {found} bytes, at most {MAX_CSR} are read")]
    TooLarge {
        /// How many there are.
        found: usize,
    },
    /// Bytes behind the request or one of its parts.
    #[error("{0} bytes follow where the request or a part of it should end")]
    TrailingBytes(usize),
    /// A length in more octets than it needs.
    #[error("the request is BER, not DER: a length is written in more octets than it needs")]
    NonMinimal,
    /// A length of the indefinite form.
    #[error("the request is BER, not DER: a length has the indefinite form")]
    Indefinite,
    /// Nested too deep.
    #[error("the request nests values deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not a PKCS#10 request.
    #[error("not a PKCS#10 request in DER: {0}")]
    Malformed(DerError),
    /// A key of a kind that is never certified.
    #[error("the request is for a key of the kind {found}, expected p256, p384 or ed25519")]
    UnsupportedKey {
        /// What it is.
        found: String,
    },
    /// A key that nobody may use.
    #[error("the request is for a key that is refused: {0}")]
    WeakKey(&'static str),
    /// A signature algorithm that does not fit the key or is not accepted.
    #[error("the request is signed with {found}, which is not accepted for a key of the kind {kind}")]
    UnsupportedSignature {
        /// The algorithm.
        found: String,
        /// The key it was used with.
        kind: crate::key::KeyKind,
    },
    /// The signature does not verify: the caller does not hold the key, or the request was changed.
    #[error("the request is not signed by the key it contains")]
    BadSignature,
}

impl CsrError {
    /// The stable problem code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            CsrError::TooLarge { .. } => "csr_too_large",
            CsrError::TrailingBytes(_)
            | CsrError::NonMinimal
            | CsrError::Indefinite
            | CsrError::TooDeep
            | CsrError::Malformed(_) => "csr_malformed",
            CsrError::UnsupportedKey { .. }
            | CsrError::WeakKey(_)
            | CsrError::UnsupportedSignature { .. } => "csr_key_unsupported",
            CsrError::BadSignature => "csr_signature_bad",
        }
    }
}

impl From<DerError> for CsrError {
    fn from(error: DerError) -> Self {
        match error {
            DerError::Trailing(octets) => CsrError::TrailingBytes(octets),
            DerError::NonMinimalLength => CsrError::NonMinimal,
            DerError::IndefiniteLength => CsrError::Indefinite,
            DerError::TooDeep(_) => CsrError::TooDeep,
            other => CsrError::Malformed(other),
        }
    }
}

impl From<KeyError> for CsrError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Malformed(error) => error.into(),
            KeyError::Unsupported { found } => CsrError::UnsupportedKey { found },
            KeyError::Weak(why) => CsrError::WeakKey(why),
        }
    }
}

impl<'a> Csr<'a> {
    /// Reads a request and checks that every octet of it is DER.
    ///
    /// # Errors
    /// When it is too large, not DER, not PKCS#10, or its key of a kind that is never certified.
    pub fn read(der: &'a [u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR {
            return Err(CsrError::TooLarge { found: der.len() });
        }
        let mut outer = Reader::new(der);
        let request = outer.expect(tag::SEQUENCE)?;
        outer.finish()?;
        walk(der, MAX_DEPTH)?;

        let mut request = Reader::new(request.content);
        let info = request.expect(tag::SEQUENCE)?;
        let signature_algorithm = request.expect(tag::SEQUENCE)?.content;
        let signature = bit_string_without_unused(request.expect(tag::BIT_STRING)?.content)?;
        request.finish()?;

        let (key, requested) = request_info(info)?;
        Ok(Csr { signed: info.raw, key, signature_algorithm, signature, requested })
    }

    /// What the request is signed with, for messages.
    pub(crate) fn signature_algorithm_name(&self) -> String {
        match Reader::new(self.signature_algorithm).expect(tag::OBJECT_IDENTIFIER) {
            Ok(value) => oid::dotted(value.content),
            Err(_) => "something that is no algorithm".to_owned(),
        }
    }
}

/// CertificationRequestInfo: version, subject, key, attributes (RFC 2986 §4.1).
fn request_info(info: Tlv<'_>) -> Result<(PublicKey<'_>, Requested), CsrError> {
    let mut fields = Reader::new(info.content);
    if fields.expect(tag::INTEGER)?.content != [0] {
        return Err(CsrError::Malformed(DerError::Value("a request has version 0")));
    }
    // Invariant 1: the subject must be there and is never looked into.
    fields.expect(tag::SEQUENCE)?;
    let key = PublicKey::from_value(fields.expect(tag::SEQUENCE)?)?;
    // RFC 2986 asks for the attributes even if empty; several tools leave them out.
    let requested = match fields.optional(tag::context_constructed(0))? {
        Some(attributes) => requested::from_attributes(attributes.content)?,
        None => Requested::default(),
    };
    fields.finish()?;
    Ok((key, requested))
}

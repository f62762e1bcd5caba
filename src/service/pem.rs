//! Certificates and requests in PEM (RFC 7468), both ways.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, SubjectPublicKeyInfoDer, pem::PemObject as _,
};

/// RFC 7468 §2: generators wrap at 64 characters.
const LINE: usize = 64;

/// Why a PEM text was refused.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No block of the expected kind.
    #[error("{found} holds no PEM block \"{expected}\"")]
    Missing {
        /// The file, or what the text is.
        found: String,
        /// The label.
        expected: &'static str,
    },
}

/// One PEM block, lines of 64 characters.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The first certificate of a file, DER.
///
/// # Errors
/// When the file cannot be read or holds none.
pub fn read_one(path: &Path) -> Result<Vec<u8>, PemError> {
    let text = std::fs::read(path).map_err(|source| PemError::Unreadable { path: path.into(), source })?;
    CertificateDer::from_pem_slice(&text)
        .map(|der| der.to_vec())
        .map_err(|_| PemError::Missing { found: path.display().to_string(), expected: "CERTIFICATE" })
}

/// The one certificate request of a PEM text, DER; of two, none is meant. Both labels in use are read (RFC 7468 §7).
#[must_use]
pub fn request(text: &str) -> Option<Vec<u8>> {
    // `openssl req -newhdr` writes NEW CERTIFICATE REQUEST.
    let text = text.replace("NEW CERTIFICATE REQUEST", "CERTIFICATE REQUEST");
    let mut requests = CertificateSigningRequestDer::pem_slice_iter(text.as_bytes());
    match (requests.next(), requests.next()) {
        (Some(Ok(one)), None) => Some(one.to_vec()),
        _ => None,
    }
}

/// The one public key of a PEM text, DER (RFC 7468 §13); of two, none is meant.
#[must_use]
pub fn public_key(text: &str) -> Option<Vec<u8>> {
    let mut keys = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes());
    match (keys.next(), keys.next()) {
        (Some(Ok(one)), None) => Some(one.to_vec()),
        _ => None,
    }
}

/// What a text says it holds, for messages that must not show it: it may be a private key.
#[must_use]
pub fn kind(text: &str) -> String {
    let label = text.split_once("-----BEGIN ").and_then(|(_, rest)| rest.split_once("-----"));
    match label {
        Some((label, _)) if label.len() <= LINE && !label.contains(char::is_control) => format!("{label:?}"),
        _ => "no PEM".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_and_nothing_else_is_shown() {
        assert_eq!(kind(&encode("EC PRIVATE KEY", b"secret")), "\"EC PRIVATE KEY\"");
        for text in ["", "secret", "-----BEGIN secret", "-----BEGIN a\nb-----"] {
            assert_eq!(kind(text), "no PEM");
        }
    }

    #[test]
    fn what_is_encoded_is_read_by_another_parser() {
        for length in [1, 47, 48, 49, 700] {
            let der = vec![0x30; length];
            let text = encode("CERTIFICATE REQUEST", &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(request(&text), Some(der));
            assert_eq!(request(&text.repeat(2)), None);
        }
    }
}

//! PEM text (RFC 7468), the form certificates and requests have on the wire.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// RFC 7468 §2: generators wrap at 64 characters.
const LINE: usize = 64;

/// One PEM block.
///
/// ```
/// let text = countersign_api::pem_block("CERTIFICATE", &[0x30, 0x00]);
/// assert_eq!(text, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
/// ```
#[must_use]
pub fn pem_block(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let body = STANDARD.encode(der);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

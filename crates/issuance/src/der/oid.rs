//! Object identifiers as their DER content octets

/// id-ecPublicKey (RFC 5480 §2.1.1).
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// secp256r1, that is P-256.
pub(crate) const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// secp384r1, that is P-384.
pub(crate) const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// secp521r1, named only to be refused by name.
pub(crate) const SECP521R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// secp256k1, named only to be refused by name.
pub(crate) const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
/// id-Ed25519 (RFC 8410 §3).
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// id-Ed448, named only to be refused by name.
pub(crate) const ED448: &[u8] = &[0x2b, 0x65, 0x71];
/// rsaEncryption, named only to be refused by name.
pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-RSASSA-PSS, named only to be refused by name.
pub(crate) const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// ecdsa-with-SHA256 (RFC 5758 §3.2).
pub(crate) const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// ecdsa-with-SHA384 (RFC 5758 §3.2).
pub(crate) const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

/// extensionRequest (RFC 2985 §5.4.2).
pub(crate) const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// szOID_CERT_EXTENSIONS: the same request as Microsoft's tools spell it.
pub(crate) const MICROSOFT_EXTENSION_REQUEST: &[u8] =
    &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0e];

/// id-at-commonName.
pub(crate) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-at-serialNumber: where the lineage stands.
pub(crate) const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];
/// id-at-organizationName.
pub(crate) const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// id-ce-subjectKeyIdentifier.
pub(crate) const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
/// id-ce-keyUsage.
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// id-ce-subjectAltName.
pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// id-ce-basicConstraints.
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// id-ce-authorityKeyIdentifier.
pub(crate) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
/// id-ce-extKeyUsage.
pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// id-kp-serverAuth.
pub(crate) const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// id-kp-clientAuth.
pub(crate) const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// `2.25.250477940.1`, the extended key usage of a trust signer. The arc below 2.25 is the first 28 bits of
/// SHA-256("countersign"): it needs no registration, and its four octets are within the limits of every parser (Go's
/// takes arcs of 31 bits, pkilint's of four octets).
pub(crate) const TRUST_SIGNING: &[u8] = &[0x69, 0xf7, 0xb7, 0xfa, 0x74, 0x01];
/// `2.25.250477940.2`, the extension that carries a trust signer's epoch.
pub(crate) const TRUST_EPOCH: &[u8] = &[0x69, 0xf7, 0xb7, 0xfa, 0x74, 0x02];

/// The dotted form of content octets, for messages. Arcs past 64 bits and broken encodings are shown as hex.
pub(crate) fn dotted(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc: u64 = 0;
    for octet in content {
        let Some(shifted) = arc.checked_mul(128) else {
            return countersign_identity::hex::encode(content);
        };
        arc = shifted | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    let complete = content.last().is_some_and(|octet| octet & 0x80 == 0);
    if !complete {
        return countersign_identity::hex::encode(content);
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_shows_what_the_standards_write() {
        assert_eq!(dotted(EC_PUBLIC_KEY), "1.2.840.10045.2.1");
        assert_eq!(dotted(SUBJECT_ALT_NAME), "2.5.29.17");
        assert_eq!(dotted(TRUST_SIGNING), "2.25.250477940.1");
        assert_eq!(dotted(TRUST_EPOCH), "2.25.250477940.2");
    }

    #[test]
    fn dotted_never_fails_on_broken_octets() {
        assert_eq!(dotted(&[0x80]), "80");
        assert_eq!(dotted(&[]), "");
        assert_eq!(dotted(&[0xff; 12]), "ff".repeat(12));
    }
}

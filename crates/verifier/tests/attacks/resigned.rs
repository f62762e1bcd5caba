//! Certificates taken apart, changed, and signed again by whoever signed them.

use countersign_testkit::KeyPair;
use rcgen::SigningKey as _;

pub(crate) const BOOLEAN: u8 = 1;
pub(crate) const INTEGER: u8 = 2;
pub(crate) const OCTET_STRING: u8 = 4;
pub(crate) const OID: u8 = 6;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The fields of a to-be-signed certificate, by their place.
pub(crate) const VERSION: usize = 0;
pub(crate) const SERIAL: usize = 1;
pub(crate) const ALGORITHM: usize = 2;
pub(crate) const ISSUER: usize = 3;
pub(crate) const VALIDITY: usize = 4;
pub(crate) const SUBJECT: usize = 5;
pub(crate) const KEY: usize = 6;
pub(crate) const EXTENSIONS: usize = 7;

/// One value.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut head = vec![tag];
    match content.len() {
        short @ 0..=0x7f => head.push(u8::try_from(short).expect("short")),
        middle @ 0x80..=0xff => head.extend([0x81, u8::try_from(middle).expect("one octet")]),
        long => {
            head.push(0x83);
            let octets = u32::try_from(long).expect("below 16 MiB").to_be_bytes();
            head.extend(&octets[1..]);
            if octets[1] == 0 {
                head.remove(2);
                head[1] = 0x82;
            }
        }
    }
    [head, content].concat()
}

/// The values inside a value, each whole.
pub(crate) fn inside(value: &[u8]) -> Vec<Vec<u8>> {
    let (header, _) = lengths(value);
    let mut rest = &value[header..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, content) = lengths(rest);
        let (one, after) = rest.split_at(header + content);
        found.push(one.to_vec());
        rest = after;
    }
    found
}

fn lengths(value: &[u8]) -> (usize, usize) {
    match value[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let length = value[2..2 + count].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            (2 + count, length)
        }
    }
}

/// What was signed, an algorithm and a signature by this key.
pub(crate) fn signed(tbs: &[u8], algorithm: &[u8], key: &KeyPair) -> Vec<u8> {
    let signature = key.sign(tbs).expect("a signature");
    der(SEQUENCE, &[tbs, algorithm, &der(3, &[&[0], &signature])])
}

/// The same certificate with its fields changed, signed by this key.
pub(crate) fn resigned(certificate: &[u8], key: &KeyPair, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let parts = inside(certificate);
    let mut fields = inside(&parts[0]);
    change(&mut fields);
    signed(&der(SEQUENCE, &[&fields.concat()]), &parts[1], key)
}

/// Changes the list of extensions among the fields of a certificate.
pub(crate) fn extensions(fields: &mut [Vec<u8>], change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut list = inside(&inside(&fields[EXTENSIONS])[0]);
    change(&mut list);
    fields[EXTENSIONS] = der(0xa3, &[&der(SEQUENCE, &[&list.concat()])]);
}

/// One extension.
pub(crate) fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let mark: &[u8] = if critical { &[BOOLEAN, 1, 0xff] } else { &[] };
    der(SEQUENCE, &[&der(OID, &[oid]), mark, &der(OCTET_STRING, &[content])])
}

/// The last arc of a certificate extension's identifier below 2.5.29.
pub(crate) fn ce(last: u8) -> [u8; 3] {
    [0x55, 0x1d, last]
}

/// Takes away the extension with this identifier, if it is there.
pub(crate) fn without(list: &mut Vec<Vec<u8>>, oid: &[u8]) {
    list.retain(|extension| inside(extension)[0][2..] != *oid);
}

/// Puts an extension in the place of the one with its identifier, or behind the others.
pub(crate) fn with(fields: &mut [Vec<u8>], oid: &[u8], critical: bool, content: &[u8]) {
    extensions(fields, |list| {
        without(list, oid);
        list.push(extension(oid, critical, content));
    });
}

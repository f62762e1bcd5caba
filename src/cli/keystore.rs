//! A PKCS#12 file (RFC 7292), as far as it can be told without its password.

use pkcs8::der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _, asn1::AnyRef};

/// How a file begins whose lengths are left open, as some programs write it: SEQUENCE, version 3.
const OPEN_LENGTHS: &[u8] = &[0x30, 0x80, 0x02, 0x01, 0x03];
/// The content types of what is inside, PKCS#7 `data` and `signedData`.
const CONTENTS: [&str; 2] = ["1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2"];
/// What its integrity may rest on (RFC 7292 §4, RFC 9579).
const DIGESTS: [(&str, &str); 5] = [
    ("1.3.14.3.2.26", "HMAC-SHA-1, which new programs may refuse"),
    ("2.16.840.1.101.3.4.2.1", "HMAC-SHA-256"),
    ("2.16.840.1.101.3.4.2.2", "HMAC-SHA-384"),
    ("2.16.840.1.101.3.4.2.3", "HMAC-SHA-512"),
    ("1.2.840.113549.1.5.14", "PBMAC1"),
];

/// Whether octets are a PKCS#12 file.
pub(crate) fn is_one(content: &[u8]) -> bool {
    content.starts_with(OPEN_LENGTHS) || frame(content).is_some()
}

/// What can be said of one.
pub(crate) fn in_words(content: &[u8]) -> String {
    let guarded = match frame(content).map(|frame| mac(&frame)) {
        Some(Some((digest, rounds))) => format!(" guarded by {digest} under its password, {rounds} rounds;"),
        Some(None) => " guarded by no password against change;".to_owned(),
        None => String::new(),
    };
    format!(
        "a PKCS#12 keystore (.p12),{guarded} who is in it only the password shows: `openssl pkcs12 -in FILE -nokeys` \
         writes its certificates as PEM, which this command explains"
    )
}

/// The members of the outermost value, if they are those of a PKCS#12 file: version, contents, and perhaps a MAC.
fn frame(content: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let found = members(AnyRef::from_der(content).ok()?)?;
    let (version, contents) = (found.first()?, members(*found.get(1)?)?);
    let kind = oid(contents.first()?)?;
    let is_one = version.tag() == Tag::Integer && version.value() == [3] && CONTENTS.contains(&&*kind);
    is_one.then_some(found)
}

/// What its MAC is made with, and in how many rounds.
fn mac(frame: &[AnyRef<'_>]) -> Option<(String, u64)> {
    let mac = members(*frame.get(2)?)?;
    let algorithm = members(*members(*mac.first()?)?.first()?)?;
    let digest = oid(algorithm.first()?)?;
    let name = DIGESTS.iter().find(|(known, _)| *known == digest).map(|(_, name)| (*name).to_owned());
    // One, unless it says so (RFC 7292 appendix B).
    let rounds = mac.get(2).map_or(Some(1), |rounds| rounds.decode_as::<u64>().ok())?;
    Some((name.unwrap_or(digest), rounds))
}

fn members(value: AnyRef<'_>) -> Option<Vec<AnyRef<'_>>> {
    if value.tag() != Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(value.value()).ok()?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(found)
}

fn oid(value: &AnyRef<'_>) -> Option<String> {
    value.decode_as::<pkcs8::ObjectIdentifier>().ok().map(|oid| oid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 3, empty `data`, and a MAC by the digest with that OID (DER) in 2,048 rounds.
    fn file(digest: &[u8]) -> Vec<u8> {
        let of = |tag: u8, parts: &[&[u8]]| {
            let content = parts.concat();
            [&[tag, u8::try_from(content.len()).unwrap()][..], &content].concat()
        };
        let data = of(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]]);
        let contents = of(0x30, &[&data, &of(0xa0, &[&of(4, &[])])]);
        let algorithm = of(0x30, &[&of(6, &[digest]), &[5, 0]]);
        let info = of(0x30, &[&algorithm, &of(4, &[&[7; 32]])]);
        let mac = of(0x30, &[&info, &of(4, &[&[8; 8]]), &[2, 2, 8, 0]]);
        of(0x30, &[&[2, 1, 3], &contents, &mac])
    }

    #[test]
    fn what_guards_it_is_told() {
        let sha256 = file(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]);
        assert!(is_one(&sha256));
        assert!(in_words(&sha256).contains("guarded by HMAC-SHA-256 under its password, 2048 rounds"));
        let sha1 = file(&[0x2b, 0x0e, 3, 2, 0x1a]);
        assert!(in_words(&sha1).contains("HMAC-SHA-1, which new programs may refuse"));
        assert!(in_words(OPEN_LENGTHS).contains("PKCS#12 keystore"));
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let sha256 = file(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]);
        for end in 0..sha256.len() {
            assert!(!is_one(sha256.get(..end).unwrap()), "{end}");
        }
        let mut other = sha256;
        other[4] = 2;
        assert!(!is_one(&other), "of another version");
        assert!(!is_one(b"\x30\x00") && !is_one(b""));
    }
}

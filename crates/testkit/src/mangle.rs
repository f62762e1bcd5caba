//! Damage to finished DER, for certificates and signing requests alike.

/// The same value with octets behind it.
#[must_use]
pub fn trailing_bytes(der: &[u8]) -> Vec<u8> {
    [der, b"\0\0"].concat()
}

/// The same value with its outermost length written longer than need be, which DER forbids (X.690 §10.1).
///
/// # Panics
/// When `der` is no sequence with a long-form length.
#[must_use]
pub fn non_minimal_length(der: &[u8]) -> Vec<u8> {
    let (head, rest) = der.split_at_checked(2).expect("a tag and a length");
    let (tag, count) = (head.first().expect("a tag"), head.get(1).expect("a length") & 0x7f);
    assert!(head.get(1).is_some_and(|length| length & 0x80 != 0), "expected a long-form length");
    [&[*tag, 0x80 | (count + 1), 0], rest].concat()
}

/// The same value with the last bit turned over: in certificates and requests, a bit of the signature.
#[must_use]
pub fn broken_signature(der: &[u8]) -> Vec<u8> {
    let mut broken = der.to_vec();
    if let Some(last) = broken.last_mut() {
        *last ^= 1;
    }
    broken
}

/// The first half of the value.
#[must_use]
pub fn truncated(der: &[u8]) -> Vec<u8> {
    der.get(..der.len() / 2).unwrap_or_default().to_vec()
}

/// Sequences within sequences, `depth` of them, each of correct length.
#[must_use]
pub fn nested(depth: usize) -> Vec<u8> {
    let mut der = Vec::new();
    for _ in 0..depth {
        let mut outer = vec![0x30];
        match der.len() {
            short @ 0..=0x7f => outer.push(u8::try_from(short).expect("below 128")),
            long => {
                let octets = long.to_be_bytes();
                let zeros = octets.iter().take_while(|octet| **octet == 0).count();
                let octets = octets.get(zeros..).unwrap_or_default();
                outer.push(0x80 | u8::try_from(octets.len()).expect("at most 8"));
                outer.extend_from_slice(octets);
            }
        }
        outer.append(&mut der);
        der = outer;
    }
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_length_still_counts_the_same_octets() {
        let der = [&[0x30, 0x81, 0x80][..], &[5; 128]].concat();
        assert_eq!(non_minimal_length(&der)[..5], [0x30, 0x82, 0, 0x80, 5]);
    }

    #[test]
    fn nested_sequences_have_correct_lengths() {
        assert_eq!(nested(2), [0x30, 2, 0x30, 0]);
        let deep = nested(100);
        assert_eq!(deep[..3], [0x30, 0x81, u8::try_from(deep.len() - 3).expect("short")]);
    }
}

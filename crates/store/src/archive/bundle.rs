//! Bundles: the text of so many events as one member of a gzip file (RFC 1952), which says how long it is.
//!
//! A gzip file is any number of members, one after the other, and `zcat` reads them as one text. The length stands in the
//! header's extra field, so that a reader hops from bundle to bundle and unpacks only those it wants. The trailer's CRC-32
//! is of the text; it is checked whenever a bundle is unpacked.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};

use crate::engine::LONGEST_VALUE;

/// Lines of one bundle: an entry bundle of C2SP tlog-tiles holds as many.
pub(crate) const BUNDLE: u64 = 256;

/// Packing costs some microseconds an event at this level; higher ones win little on hexadecimal text.
const LEVEL: Compression = Compression::new(1);

/// The name of the length in the extra field (RFC 1952 §2.3.1.1).
const NAME: [u8; 2] = *b"CS";

/// What every bundle begins with: gzip's mark, deflate, an extra field and nothing else.
const MARK: [u8; 4] = [0x1f, 0x8b, 8, 4];

/// The fixed header, the length of the extra field, name and length of the one field in it.
const BEFORE_LENGTH: usize = 16;
const HEAD: usize = BEFORE_LENGTH + 4;

/// Header and trailer.
const SHORTEST: usize = HEAD + 8;

/// No bundle is longer, packed or not: so many rows of the book are not.
const LONGEST: usize = LONGEST_VALUE * (BUNDLE as usize);

/// Packs a text.
pub(super) fn pack(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut extra = NAME.to_vec();
    extra.extend([4, 0, 0, 0, 0, 0]);
    let mut packing = GzBuilder::new().extra(extra).write(Vec::with_capacity(text.len() / 2), LEVEL);
    packing.write_all(text)?;
    let mut packed = packing.finish()?;
    let length = u32::try_from(packed.len()).map_err(io::Error::other)?.to_le_bytes();
    match packed.get_mut(BEFORE_LENGTH..HEAD) {
        Some(place) => place.copy_from_slice(&length),
        None => return Err(io::Error::other("a bundle has no head")),
    }
    Ok(packed)
}

/// The length of the bundle that begins at octet `at`.
pub(super) fn length_at(file: &File, at: u64) -> io::Result<usize> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, at).map_err(|error| ends_early(error, at))?;
    let (front, length) = head.split_at(BEFORE_LENGTH);
    let field = front.get(10..).unwrap_or_default();
    let expected = [8, 0, NAME[0], NAME[1], 4, 0];
    let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
    match usize::try_from(length) {
        Ok(length)
            if front.starts_with(&MARK) && field == expected && (SHORTEST..=LONGEST).contains(&length) =>
        {
            Ok(length)
        }
        _ => Err(io::Error::other(format!("no bundle begins at octet {at}"))),
    }
}

/// The text of the bundle of this length that begins at octet `at`.
pub(super) fn unpack_at(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; length];
    file.read_exact_at(&mut packed, at).map_err(|error| ends_early(error, at))?;
    let mut unpacking = GzDecoder::new(packed.as_slice());
    let mut text = Vec::with_capacity(length.saturating_mul(4).min(LONGEST));
    let bad = |why: &dyn std::fmt::Display| io::Error::other(format!("the bundle at octet {at}: {why}"));
    let read = unpacking.by_ref().take(LONGEST as u64 + 1).read_to_end(&mut text);
    read.map_err(|error| bad(&error))?;
    if text.len() > LONGEST || !unpacking.into_inner().is_empty() {
        return Err(bad(&"it is longer than it says"));
    }
    Ok(text)
}

fn ends_early(error: io::Error, at: u64) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other(format!("it is cut off behind octet {at}")),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(octets: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(octets).unwrap();
        file
    }

    #[test]
    fn a_bundle_comes_back_as_it_was_and_gzip_reads_it_too() {
        for text in [Vec::new(), b"one\n".to_vec(), b"{\"kind\":\"machine.renewed\"}\n".repeat(9000)] {
            let packed = pack(&text).unwrap();
            let file = file_of(&packed);
            assert_eq!(length_at(&file, 0).unwrap(), packed.len());
            assert_eq!(unpack_at(&file, 0, packed.len()).unwrap(), text);
            let mut plain = Vec::new();
            GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, text);
        }
    }

    #[test]
    fn no_flipped_bit_gives_another_text_and_no_cut_gives_any() {
        let text = b"{\"kind\":\"machine.renewed\",\"seq\":1,\"v\":1}\n".repeat(3);
        let packed = pack(&text).unwrap();
        let read = |octets: &[u8]| {
            let file = file_of(octets);
            length_at(&file, 0).and_then(|length| unpack_at(&file, 0, length))
        };
        for bit in 0..packed.len() * 8 {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Octets 4 to 9 say when and where it was packed: nothing hangs on them.
            assert!(read(&flipped).map_or(true, |found| found == text), "bit {bit}");
        }
        for length in 0..packed.len() {
            read(&packed[..length]).unwrap_err();
        }
    }
}

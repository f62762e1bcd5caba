//! What keeps clients built on gRPC's C core from being turned away for the name they give the socket.
//!
//! For a unix socket such a client (Python, C++, Ruby, PHP) sends the percent-encoded path as `:authority`:
//! `run%2Fcountersign%2Fagent.sock`. The HTTP/2 library below us takes no percent sign there (RFC 3986 §3.2 allows it in a
//! registered name) and resets the stream. Nobody here reads the authority of a local socket, so percent signs in it are
//! overwritten with hyphens before the library sees them. Both have Huffman codes of six bits (RFC 7541 Appendix B), so a
//! header block keeps its length, and the tables on both ends keep their sizes.
//!
//! What cannot be followed is passed on as it came: the library is the judge of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a connection begins (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// The head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;
/// The largest frame that is looked at: the largest an endpoint may send before it is told otherwise.
const FRAME: usize = 16_384;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table (RFC 7541 Appendix A).
const AUTHORITY: usize = 1;
/// The same spelled out, as the C core does, and as Huffman codes.
const SPELLED: &[u8] = b":authority";
const SPELLED_CODED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// A connection whose header blocks are softened as they arrive.
pub(super) struct Softened<IO> {
    inner: IO,
    /// What has arrived and not been passed on.
    held: Vec<u8>,
    /// How many octets of `held` may be passed on.
    ready: usize,
    /// How many octets to come are no head of a frame: the preface, or the rest of a body.
    body: usize,
}

impl<IO> Softened<IO> {
    pub(super) const fn new(inner: IO) -> Self {
        Self { inner, held: Vec::new(), ready: 0, body: PREFACE }
    }

    /// Goes as far as whole frames allow.
    fn advance(&mut self) {
        loop {
            let left = self.held.len() - self.ready;
            let passed = self.body.min(left);
            self.ready += passed;
            self.body -= passed;
            let Some(frame) = self.held.get_mut(self.ready..).filter(|rest| rest.len() >= HEAD) else {
                return;
            };
            let (head, rest) = frame.split_at_mut(HEAD);
            let &mut [a, b, c, kind, flags, ..] = head else { return };
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if kind == HEADERS && length <= FRAME {
                let Some(payload) = rest.get_mut(..length) else { return };
                if let Some(block) = block_of(payload, flags) {
                    let _ = soften(block);
                }
            }
            self.ready += HEAD;
            self.body = length;
        }
    }
}

/// The part of a HEADERS frame that holds fields (RFC 9113 §6.2).
fn block_of(payload: &mut [u8], flags: u8) -> Option<&mut [u8]> {
    let (start, padding) = if flags & PADDED == 0 { (0, 0) } else { (1, usize::from(*payload.first()?)) };
    let start = start + if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = payload.len().checked_sub(padding)?;
    payload.get_mut(start..end)
}

/// Overwrites the percent signs of literal authorities in a header block (RFC 7541 §6); none where it cannot be followed.
pub fn soften(mut block: &mut [u8]) -> Option<()> {
    while let Some(&first) = block.first() {
        let (name, after) = match first {
            // Indexed (§6.1), and a change of the table's size (§6.3).
            0x80.. => {
                block = number(block, 7)?.1;
                continue;
            }
            0x20..0x40 => {
                block = number(block, 5)?.1;
                continue;
            }
            // Literal, to be indexed (§6.2.1), or not (§6.2.2, §6.2.3).
            0x40..0x80 => number(block, 6)?,
            _ => number(block, 4)?,
        };
        let (is_authority, after) = if name == 0 {
            let (_, spelled, after) = string(after)?;
            ([SPELLED, SPELLED_CODED].contains(&&*spelled), after)
        } else {
            (name == AUTHORITY, after)
        };
        let (is_coded, text, after) = string(after)?;
        if is_authority {
            if is_coded {
                soften_coded(text);
            } else {
                text.iter_mut().filter(|octet| **octet == b'%').for_each(|octet| *octet = b'-');
            }
        }
        block = after;
    }
    Some(())
}

/// An integer with a prefix of so many bits (RFC 7541 §5.1), and what follows it.
fn number(block: &mut [u8], prefix: u32) -> Option<(usize, &mut [u8])> {
    let (first, mut rest) = block.split_first_mut()?;
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Some((value, rest));
    }
    // Three octets reach beyond the largest frame.
    for shift in [0, 7, 14] {
        let (octet, after) = rest.split_first_mut()?;
        value += usize::from(*octet & 0x7f) << shift;
        rest = after;
        if *octet & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// A string (RFC 7541 §5.2): whether it is coded, its octets, and what follows.
fn string(block: &mut [u8]) -> Option<(bool, &mut [u8], &mut [u8])> {
    let is_coded = *block.first()? & 0x80 != 0;
    let (length, rest) = number(block, 7)?;
    let (text, after) = rest.split_at_mut_checked(length)?;
    Some((is_coded, text, after))
}

/// How many codes there are of each length from 5 bits on (RFC 7541 Appendix B). The codes of one length follow one
/// another, and those of the next length follow them: the counts alone tell where a code ends.
const CODES: [u32; 26] =
    [10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];
const SHORTEST: u32 = 5;
const PERCENT: u32 = 0b01_0101;

/// Walks the codes of a string and overwrites those of the percent sign.
fn soften_coded(text: &mut [u8]) {
    let bits = text.len() * 8;
    let mut at = 0;
    while let Some((length, code)) = code_at(text, at, bits) {
        if (length, code) == (6, PERCENT) {
            // A hyphen is 010110: the last two of the six bits differ.
            for bit in [at + 4, at + 5] {
                if let Some(octet) = text.get_mut(bit / 8) {
                    *octet ^= 1 << (7 - bit % 8);
                }
            }
        }
        at += length as usize;
    }
}

/// The code that begins at a bit: its length and value. None at the end, in the padding, or where there is none.
fn code_at(text: &[u8], at: usize, bits: usize) -> Option<(u32, u32)> {
    let (mut code, mut first, mut length) = (0_u32, 0_u32, 0_u32);
    let mut next = at;
    let mut bit = || {
        let octet = (next < bits).then(|| text.get(next / 8)).flatten()?;
        let bit = octet >> (7 - next % 8) & 1;
        next += 1;
        Some(u32::from(bit))
    };
    for _ in 1..SHORTEST {
        code = code << 1 | bit()?;
        length += 1;
    }
    for count in CODES {
        code = code << 1 | bit()?;
        first <<= 1;
        length += 1;
        if code < first + count {
            return Some((length, code));
        }
        first += count;
    }
    None
}

impl<IO: AsyncRead + Unpin> AsyncRead for Softened<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.ready == 0 {
            let mut octets = [0; 8192];
            let mut buffer = ReadBuf::new(&mut octets);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                // The other side has ended: whatever is held is passed on as it came.
                self.ready = self.held.len();
                break;
            }
            self.held.extend_from_slice(buffer.filled());
            self.advance();
        }
        let count = self.ready.min(into.remaining());
        into.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.drain(..count);
        self.ready -= count;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Softened<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// `:authority` as a literal to be indexed, then `:method POST`.
    fn block(is_coded: bool, text: &[u8]) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap() | if is_coded { 0x80 } else { 0 };
        [&[0x41, length][..], text, &[0x83]].concat()
    }

    fn softened(mut block: Vec<u8>) -> Vec<u8> {
        soften(&mut block).unwrap();
        block
    }

    /// The octets of a string of bits, padded with ones.
    fn octets(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        bits.chunks(8)
            .map(|eight| (0..8).fold(0, |octet, n| octet << 1 | eight.get(n).unwrap_or(&1)))
            .collect()
    }

    #[test]
    fn percent_signs_of_an_authority_become_hyphens() {
        assert_eq!(softened(block(false, b"run%2Fa.sock")), block(false, b"run-2Fa.sock"));
        // a % 2 F b (RFC 7541 Appendix B)
        let coded = octets("00011 010101 00010 1100001 100011");
        let expected = octets("00011 010110 00010 1100001 100011");
        assert_eq!(softened(block(true, &coded)), block(true, &expected));
    }

    #[test]
    fn an_authority_that_is_spelled_out_is_one_too() {
        for (length, name) in [(10, SPELLED), (0x88, SPELLED_CODED)] {
            let field = |text: &[u8]| [&[0x40, length][..], name, &[4], text].concat();
            assert_eq!(softened(field(b"a%2F")), field(b"a-2F"));
        }
    }

    #[test]
    fn other_fields_keep_theirs() {
        // `:path` (index 4 of the static table) and a field with a name of its own.
        let path = [&[0x44, 4][..], b"/a%2"].concat();
        let own = [&[0x00, 3][..], b"x%y", &[3], b"a%b"].concat();
        for untouched in [path, own, vec![0x3f, 0xe1, 0x1f, 0x81]] {
            assert_eq!(softened(untouched.clone()), untouched);
        }
    }

    #[test]
    fn the_example_of_the_standard_is_walked_to_its_end() {
        // RFC 7541 C.4.1: www.example.com
        let text = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        let (mut at, mut count) = (0, 0);
        while let Some((length, _)) = code_at(&text, at, 96) {
            (at, count) = (at + length as usize, count + 1);
        }
        assert_eq!((count, at), ("www.example.com".len(), 89));
        assert_eq!(CODES.iter().sum::<u32>(), 257);
    }

    proptest! {
        #[test]
        fn nothing_changes_its_length_and_nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut block = octets.clone();
            let _ = soften(&mut block);
            prop_assert_eq!(block.len(), octets.len());
        }

        /// However a connection is cut into pieces, all of it arrives, and the authority without percent signs.
        #[test]
        fn however_it_is_cut_all_of_it_arrives(cuts in proptest::collection::vec(1_usize..40, 1..20), more in proptest::collection::vec(any::<u8>(), 0..60)) {
            let fields = block(false, b"run%2Fa.sock");
            let frame = |kind: u8, payload: &[u8]| {
                let length = u8::try_from(payload.len()).unwrap();
                [&[0, 0, length, kind, 4, 0, 0, 0, 1][..], payload].concat()
            };
            let sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, &[]), frame(HEADERS, &fields), frame(0, &more)].concat();
            let expected = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, &[]), frame(HEADERS, &block(false, b"run-2Fa.sock")), frame(0, &more)].concat();
            let mut script = in_pieces(&sent, &cuts);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut received = Vec::new();
            runtime.block_on(script.read_to_end(&mut received)).unwrap();
            prop_assert_eq!(received, expected);
        }
    }

    /// A reader that gives pieces of these sizes.
    fn in_pieces(sent: &[u8], cuts: &[usize]) -> Softened<Pieces> {
        let (mut rest, mut pieces) = (sent, Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.reverse();
        Softened::new(Pieces(pieces))
    }

    struct Pieces(Vec<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            into.put_slice(&self.0.pop().unwrap_or_default());
            Poll::Ready(Ok(()))
        }
    }
}

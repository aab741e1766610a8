//! Reads a stream of any length in bounded memory, and tells where tokens may be in it.

use super::words::{self, WORD_MAX_BYTES};
use crate::token::TokenDigest;
use crate::token::candidates::{CANDIDATE_MAX_BYTES, Encoding, Finder};
use std::io::{self, Read};
use zeroize::Zeroizing;

/// What is held of a stream at a time.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;
/// How far beyond the place where something starts one must see.
const AHEAD_BYTES: usize =
    if CANDIDATE_MAX_BYTES > WORD_MAX_BYTES + 1 { CANDIDATE_MAX_BYTES } else { WORD_MAX_BYTES + 1 };

/// What files start with whose content is compressed: gzip, zip, zstd, xz, bzip2, 7z and git's packs.
const COMPRESSED: [&[u8]; 7] = [
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"PACK\0\0\0",
];

/// A place of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Bytes before it in its line, and 1.
    pub(super) column: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) place: Place,
    pub(super) what: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The shape of a generated token, with a right checksum.
    Token(TokenDigest, Encoding),
    /// The same with a wrong checksum.
    WrongChecksum(Encoding),
    /// Any word that an operator could have chosen as a token.
    Word(TokenDigest, Encoding),
}

/// A stream that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    /// Whether what it holds is compressed, so that it was not seen.
    pub(super) is_compressed: bool,
}

/// Reads streams, one after the other.
pub(super) struct Reader {
    finder: Finder,
    buffer: Zeroizing<Vec<u8>>,
    finds_words: bool,
}

/// How far the reading is.
struct Cursor {
    /// Bytes of the stream before the buffer.
    base: u64,
    line: u64,
    /// Where the line starts, in bytes of the stream.
    line_start: u64,
}

impl Reader {
    pub(super) fn new(finds_words: bool) -> Self {
        Self { finder: Finder::new(), buffer: Zeroizing::new(vec![0; BUFFER_BYTES]), finds_words }
    }

    /// Reads to the end, and hands on what is seen of each part, by place.
    ///
    /// # Errors
    /// When the stream cannot be read. What was seen before has been handed on.
    pub(super) fn read(
        &mut self,
        stream: &mut dyn Read,
        each: &mut dyn FnMut(Vec<Sighting>),
    ) -> io::Result<Extent> {
        let mut cursor = Cursor { base: 0, line: 1, line_start: 0 };
        // The first bytes of the buffer were looked at already: words need to see what stands before them.
        let (mut held, mut seen) = (0, 0);
        let mut is_compressed = false;
        loop {
            let room = self.buffer.get_mut(held..).unwrap_or_default();
            let read = fill(stream, room)?;
            let is_last = read < room.len();
            let length = held + read;
            let bytes = self.buffer.get(..length).unwrap_or_default();
            is_compressed |= cursor.base == 0 && COMPRESSED.iter().any(|start| bytes.starts_with(start));
            let until = if is_last { length } else { length.saturating_sub(AHEAD_BYTES) };
            let mut sightings = self.look(bytes, seen, until);
            sightings.sort_by_key(|(at, _)| *at);
            let place = |(at, what)| Sighting { place: cursor.place(bytes, &mut seen, at), what };
            let sightings: Vec<Sighting> = sightings.into_iter().map(place).collect();
            cursor.pass(bytes, &mut seen, until);
            if !sightings.is_empty() {
                each(sightings);
            }
            if is_last {
                return Ok(Extent { bytes: cursor.base + length as u64, is_compressed });
            }
            // One byte before what comes next stays, too.
            let kept = until.saturating_sub(1);
            self.buffer.copy_within(kept..length, 0);
            (held, seen) = (length - kept, until - kept);
            cursor.base += kept as u64;
        }
    }

    /// What starts from `from` on and before `until`.
    fn look(&self, bytes: &[u8], from: usize, until: usize) -> Vec<(usize, Seen)> {
        let mut found = Vec::new();
        for candidate in self.finder.find(bytes, until).into_iter().filter(|candidate| candidate.at >= from) {
            let what = match candidate.digest {
                Some(digest) => Seen::Token(digest, candidate.encoding),
                None => Seen::WrongChecksum(candidate.encoding),
            };
            found.push((candidate.at, what));
        }
        if self.finds_words {
            words::each(bytes, from, until, &mut |at, digest, encoding| {
                found.push((at, Seen::Word(digest, encoding)));
            });
        }
        found
    }
}

impl Cursor {
    /// The place of `at`, from that of `seen` on.
    fn place(&mut self, bytes: &[u8], seen: &mut usize, at: usize) -> Place {
        self.pass(bytes, seen, at);
        let offset = self.base + at as u64;
        Place { offset, line: self.line, column: offset - self.line_start + 1 }
    }

    fn pass(&mut self, bytes: &[u8], seen: &mut usize, to: usize) {
        let passed = bytes.get(*seen..to).unwrap_or_default();
        if let Some(last) = memchr::memrchr(b'\n', passed) {
            self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
            self.line_start = self.base + (*seen + last + 1) as u64;
        }
        *seen = to;
    }
}

/// Reads until the room is full or the stream ends.
fn fill(stream: &mut dyn Read, mut room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while !room.is_empty() {
        match stream.read(room) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                room = room.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

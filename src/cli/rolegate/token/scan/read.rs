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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Secret;
    use proptest::prelude::*;

    /// A stream that gives as many bytes at a time as its reader least expects.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let (given, rest) = self.0.split_at(self.1.min(room.len()).min(self.0.len()));
            self.0 = rest;
            room.get_mut(..given.len()).unwrap_or_default().copy_from_slice(given);
            Ok(given.len())
        }
    }

    fn read(bytes: &[u8], finds_words: bool) -> (Vec<Sighting>, Extent) {
        let mut seen = Vec::new();
        let mut stream = Drops(bytes, 77_777);
        let extent =
            Reader::new(finds_words).read(&mut stream, &mut |mut part| seen.append(&mut part)).unwrap();
        (seen, extent)
    }

    fn generated() -> (String, TokenDigest) {
        let secret = Secret::generate().unwrap();
        (secret.expose().to_owned(), secret.digest())
    }

    /// The place of an offset, counted from the beginning.
    fn place(bytes: &[u8], offset: usize) -> Place {
        let before = bytes.get(..offset).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Place { offset: offset as u64, line, column: (offset - start) as u64 + 1 }
    }

    #[test]
    fn lines_end_as_they_do_on_every_system() {
        let (secret, digest) = generated();
        for text in [format!("a\r\nb\r\n{secret}\r\n"), format!("a\nb\n{secret}"), format!("\n\n{secret}\n")]
        {
            let what = Seen::Token(digest, Encoding::Plain);
            let place = Place { offset: text.find("svctok").unwrap() as u64, line: 3, column: 1 };
            assert_eq!(read(text.as_bytes(), false).0, [Sighting { place, what }]);
        }
    }

    #[test]
    fn empty_stream_and_one_that_fills_the_buffer_exactly_are_read_to_the_end() {
        let (secret, digest) = generated();
        assert_eq!(read(b"", true), (Vec::new(), Extent { bytes: 0, is_compressed: false }));
        for length in [BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES] {
            let mut bytes = vec![b'.'; length];
            let at = length - secret.len();
            bytes[at..].copy_from_slice(secret.as_bytes());
            let (seen, extent) = read(&bytes, false);
            let what = Seen::Token(digest, Encoding::Plain);
            assert_eq!(seen, [Sighting { place: place(&bytes, at), what }]);
            assert_eq!(extent.bytes, length as u64);
        }
    }

    #[test]
    fn compressed_content_is_noticed_by_its_first_bytes() {
        assert!(read(b"\x1f\x8b\x08\x00rest", false).1.is_compressed);
        assert!(read(b"PK\x03\x04rest", false).1.is_compressed);
        assert!(!read(b"text\x1f\x8b", false).1.is_compressed);
    }

    #[test]
    fn stream_that_breaks_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let read = Reader::new(false).read(&mut Broken, &mut |_| {});
        assert_eq!(read.unwrap_err().to_string(), "the disk is gone");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Wherever a token lies, on the border of two parts too, it is seen once, at its place.
        #[test]
        fn what_is_seen_does_not_depend_on_where_parts_end(
            part in 1..3_usize,
            before in 0..700_usize,
            form in 0..4_usize,
            newline in 1..2_000_usize,
        ) {
            let (secret, digest) = generated();
            let spoiled = format!("{}{}", &secret.get(..37).unwrap(), if secret.ends_with('x') { 'y' } else { 'x' });
            let chosen = Secret::parse(&"4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u-".repeat(6)).unwrap().0;
            let (text, what) = match form {
                0 => (secret.into_bytes(), Seen::Token(digest, Encoding::Plain)),
                1 => (secret.bytes().flat_map(|byte| [byte, 0]).collect(), Seen::Token(digest, Encoding::Utf16)),
                2 => (spoiled.into_bytes(), Seen::WrongChecksum(Encoding::Plain)),
                _ => (chosen.expose().as_bytes().to_vec(), Seen::Word(chosen.digest(), Encoding::Plain)),
            };
            let filler = |at: usize| if at.is_multiple_of(newline) { b'\n' } else { b' ' };
            let mut bytes: Vec<u8> = (0..3 * BUFFER_BYTES).map(filler).collect();
            let at = part * BUFFER_BYTES - before;
            bytes[at..at + text.len()].copy_from_slice(&text);
            (bytes[at - 1], bytes[at + text.len()]) = (b'"', b'"');
            let (seen, _) = read(&bytes, true);
            let expected = Sighting { place: place(&bytes, at), what };
            let once: Vec<_> = seen.iter().filter(|seen| seen.what == what).collect();
            prop_assert_eq!(once, [&expected]);
        }
    }
}

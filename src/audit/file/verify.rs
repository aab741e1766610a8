//! Whether an audit log is whole: no line changed, missing or out of order.

use super::LINE_MAX_BYTES;
use super::line::{Link, digest, hex};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// What a whole log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many entries it has.
    pub entries: u64,
    /// The number of its first entry: more than 1 when earlier ones were moved away.
    pub first: u64,
    /// How many lines a crash cut short; the entries after them prove that they were there.
    pub torn: u64,
}

/// Why a log is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("cannot read the audit log: {0}")]
    Io(#[from] io::Error),
    /// A line is longer than any entry.
    #[error("line {line} is longer than any entry")]
    TooLong {
        /// Counted from 1.
        line: u64,
    },
    /// A line does not name the digest of the line before it.
    #[error("line {line} does not follow from line {}: one of them was changed, moved or removed", line - 1)]
    Broken {
        /// Counted from 1.
        line: u64,
    },
    /// The numbers of the entries do not follow each other.
    #[error("line {line} is entry {found}, but entry {expected} has to come here")]
    OutOfOrder {
        /// Counted from 1.
        line: u64,
        /// The number it has.
        found: u64,
        /// The number it should have.
        expected: u64,
    },
}

/// Reads a log from its start to its end. Lines that were removed from its end leave no trace: whoever needs to
/// notice that keeps the number of the last entry elsewhere.
///
/// # Errors
/// At the first line that does not fit.
pub fn verify(path: &Path) -> Result<Verified, VerifyError> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut verified = Verified::default();
    let (mut before, mut line, mut seq) = ([0; 32], Vec::new(), None);
    for number in 1.. {
        line.clear();
        let limit = LINE_MAX_BYTES as u64 + 1;
        if (&mut reader).take(limit).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if text.len() > LINE_MAX_BYTES {
            return Err(VerifyError::TooLong { line: number });
        }
        match Link::read(text) {
            None => verified.torn += 1,
            Some(link) => {
                // The first line of a log whose beginning was moved away follows what is not here.
                let expected = seq.map_or(link.seq, |seq: u64| seq.saturating_add(1));
                let is_start = number == 1 && link.seq > 1;
                if !is_start && link.prev != hex(&before) {
                    return Err(VerifyError::Broken { line: number });
                }
                if link.seq != expected || link.seq == 0 {
                    return Err(VerifyError::OutOfOrder { line: number, found: link.seq, expected });
                }
                if verified.entries == 0 {
                    verified.first = link.seq;
                }
                verified.entries += 1;
                seq = Some(link.seq);
            }
        }
        before = digest(text);
    }
    Ok(verified)
}

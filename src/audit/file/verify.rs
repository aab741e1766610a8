//! Whether an audit log is whole: no entry changed, missing or out of order, over all of its files.

mod check;
mod last;
mod open;

pub use last::{LastEntry, LastEntryError};

use self::check::Check;
use self::open::LogFile;
use super::LINE_MAX_BYTES;
use super::line::hex;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// So many things that are wrong are told one by one; further ones are counted.
pub const FINDINGS_MAX: usize = 100;
const BUFFER_BYTES: usize = 256 * 1024;
/// So many bytes are read between two words about how far it is.
const PROGRESS_BYTES: u64 = 16 * 1024 * 1024;

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Its files, in the order of their entries.
    pub files: Vec<FileReport>,
    /// Files of it that are packed and were not read.
    pub packed: Vec<PathBuf>,
    /// How many entries it has.
    pub entries: u64,
    /// The number of its first entry: more than 1 when earlier ones were moved away.
    pub first: u64,
    /// The number of its last entry, and the SHA-256 of that line.
    pub last: Option<(u64, [u8; 32])>,
    /// How many lines a crash cut short; the entries after them prove that they were there.
    pub torn: u64,
    /// Everything that is wrong, in the order of the files and their lines.
    pub findings: Vec<Finding>,
    /// How many more things are wrong.
    pub more_findings: u64,
}

/// What one file of a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// How many entries it has.
    pub entries: u64,
    /// The numbers of its first and of its last entry, as they stand there.
    pub range: Option<(u64, u64)>,
    /// How many of its lines were cut short.
    pub torn: u64,
    /// Whether its last line lacks its end: a crash cut it short, or it is being written.
    pub is_cut: bool,
}

/// Something that is wrong with a log. Shown, it is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub file: PathBuf,
    /// In which line, counted from 1; zero for a whole file.
    pub line: u64,
    /// What it is.
    pub wrong: Wrong,
}

/// The ways in which a log is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// The entry is not the one that the next entry names.
    Changed {
        /// Its number.
        entry: u64,
    },
    /// The number of the entry is another one than it was.
    Renumbered {
        /// The number that it has.
        entry: u64,
        /// The number that it had.
        was: u64,
    },
    /// The first entry of a log does not begin one.
    NoBeginning,
    /// Entries are missing before this line.
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The entry stands after one that it belongs before.
    Reordered {
        /// Its number.
        entry: u64,
        /// That of the entry before it.
        after: u64,
    },
    /// There is an entry with this number already.
    Repeated {
        /// Its number.
        entry: u64,
    },
    /// The line is no entry, and was not there when the next entry was written.
    Inserted,
    /// The line is no entry, and no beginning of one.
    Foreign,
    /// The line is longer than any entry.
    TooLong,
    /// The entry that must be there is not.
    LastMissing {
        /// Its number.
        entry: u64,
        /// The number of the last entry that there is.
        last: u64,
    },
    /// The entry that must be there is another one.
    LastChanged {
        /// Its number.
        entry: u64,
        /// The digest that it has.
        digest: String,
    },
}

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
    /// A file cannot be read.
    #[error("cannot read the audit log `{}`: {source}", path.display())]
    Io {
        /// The file, or the folder of it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Files come and go faster than they can be listed.
    #[error("the files of the audit log `{}` change all the time: try again", path.display())]
    Restless {
        /// The log.
        path: PathBuf,
    },
    /// Something is wrong with it: the first thing.
    #[error("{0}")]
    NotWhole(Box<Finding>),
}

/// Reads a log from its start to its end: the file at the path, and those beside it that hold earlier parts. Entries
/// that were removed from its end leave no trace in it: whoever needs to notice that keeps the number and digest of the
/// last entry elsewhere; see [`inspect`].
///
/// # Errors
/// When something is wrong with it, with the first thing that is.
pub fn verify(path: &Path) -> Result<Verified, VerifyError> {
    let inspection = inspect(&[path.to_owned()], None, |_, _| {})?;
    match inspection.findings.into_iter().next() {
        Some(finding) => Err(VerifyError::NotWhole(Box::new(finding))),
        None => Ok(Verified { entries: inspection.entries, first: inspection.first, torn: inspection.torn }),
    }
}

/// Reads the log that these files and those beside them hold, up to where it ends now; it may be written meanwhile.
/// `last` is an entry that must be there, and `progress` is told how many bytes of how many are read.
///
/// # Errors
/// When a file cannot be read.
pub fn inspect(
    paths: &[PathBuf],
    last: Option<&LastEntry>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Inspection, VerifyError> {
    let (files, packed) = open::all(paths)?;
    let all_bytes = files.iter().map(|file| file.length).sum();
    let (mut read, mut told) = (0, 0);
    let mut check = Check::new(last, packed);
    for file in files {
        let io = |source| VerifyError::Io { path: file.path.clone(), source };
        check.begin(&file.path);
        // Up to where it ended when it was opened: a log that is written all the time has no other end.
        let mut lines = Lines::of(&file);
        while let Some(line) = lines.next().map_err(io)? {
            check.line(lines.text(), line);
            let now = read + lines.read;
            if now >= told + PROGRESS_BYTES {
                told = now;
                progress(now, all_bytes);
            }
        }
        read += lines.read;
    }
    Ok(check.end())
}

/// The lines of a file, one after the other.
struct Lines<'a> {
    reader: io::Take<BufReader<&'a std::fs::File>>,
    line: Vec<u8>,
    read: u64,
}

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    /// It is the last one of its file, and lacks its end.
    Cut,
    TooLong,
}

impl<'a> Lines<'a> {
    fn of(file: &'a LogFile) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, &file.file).take(file.length);
        Self { reader, line: Vec::new(), read: 0 }
    }

    fn next(&mut self) -> io::Result<Option<Shape>> {
        self.line.clear();
        let limit = LINE_MAX_BYTES as u64 + 1;
        let mut length = (&mut self.reader).take(limit).read_until(b'\n', &mut self.line)?;
        if length == 0 {
            return Ok(None);
        }
        self.read += length as u64;
        if self.line.ends_with(b"\n") {
            return Ok(Some(Shape::Whole));
        }
        if self.line.len() <= LINE_MAX_BYTES {
            return Ok(Some(Shape::Cut));
        }
        // The rest of it, in parts: nobody needs it whole.
        let mut rest = Vec::new();
        while length > 0 && !rest.ends_with(b"\n") {
            rest.clear();
            length = (&mut self.reader).take(limit).read_until(b'\n', &mut rest)?;
            self.read += length as u64;
        }
        Ok(Some(Shape::TooLong))
    }

    /// The line without its end.
    fn text(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }
}

impl Inspection {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// The last entry as [`LastEntry`] reads it: its number, a colon, and its digest.
    pub fn last_entry(&self) -> Option<String> {
        self.last.map(|(seq, digest)| format!("{seq}:{}", hex(&digest)))
    }
}

impl Wrong {
    /// The kind of it, in a word for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Changed { .. } | Self::Renumbered { .. } | Self::NoBeginning => "changed",
            Self::Missing { .. } => "missing",
            Self::Reordered { .. } => "reordered",
            Self::Repeated { .. } => "repeated",
            Self::Inserted | Self::Foreign | Self::TooLong => "inserted",
            Self::LastMissing { .. } => "end_missing",
            Self::LastChanged { .. } => "end_changed",
        }
    }

    /// The number of the entry that it is about.
    pub const fn entry(&self) -> Option<u64> {
        match self {
            Self::Changed { entry }
            | Self::Renumbered { entry, .. }
            | Self::Reordered { entry, .. }
            | Self::Repeated { entry }
            | Self::LastMissing { entry, .. }
            | Self::LastChanged { entry, .. } => Some(*entry),
            Self::Missing { from, .. } => Some(*from),
            Self::NoBeginning => Some(1),
            Self::Inserted | Self::Foreign | Self::TooLong => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.wrong),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.wrong),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { entry } => {
                write!(
                    f,
                    "changed: entry {entry} is not what entry {} names; one of the two was changed",
                    entry + 1
                )
            }
            Self::Renumbered { entry, was } => {
                write!(f, "changed: entry {entry} follows entry {}, and so was entry {was}", was - 1)
            }
            Self::NoBeginning => f.write_str("changed: entry 1 names an entry before it"),
            Self::Missing { from, to } if from == to => {
                write!(f, "missing: entry {from} has to stand before this line")
            }
            Self::Missing { from, to } => {
                write!(f, "missing: entries {from} to {to} have to stand before this line")
            }
            Self::Reordered { entry, after } => {
                write!(f, "reordered: entry {entry} stands after entry {after}")
            }
            Self::Repeated { entry } => write!(f, "repeated: there is an entry {entry} already"),
            Self::Inserted => {
                f.write_str("inserted: this is no entry, and was not there when the next one was written")
            }
            Self::Foreign => f.write_str("inserted: this is no entry, and no beginning of one"),
            Self::TooLong => f.write_str("inserted: this is longer than any entry"),
            Self::LastMissing { entry, last } if entry > last => {
                write!(f, "missing: entry {entry} must be there, and the log ends with entry {last}")
            }
            Self::LastMissing { entry, .. } => write!(f, "missing: entry {entry} must be there"),
            Self::LastChanged { entry, digest } => {
                write!(f, "changed: entry {entry} must have another digest than {digest}")
            }
        }
    }
}

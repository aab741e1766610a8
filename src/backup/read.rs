//! Reading the file, line by line. Only one that is whole, and as it was written, is read to its end.

use super::line::{TokenLine, hex};
use super::{FORMAT, TOKENS_MAX, VERSION};
use crate::token::{TokenDigest, TokenRecord};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, Read as _};

/// The longest line. That of a token of the largest kind has a fifth of it.
const LINE_MAX_BYTES: usize = 64 * 1024;
/// How many entries are given away together when a file is read again.
const PART_ENTRIES: usize = 5_000;

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Token(Box<TokenRecord>),
    Spent(TokenDigest),
}

/// How much a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) tokens: u64,
    pub(crate) spent: u64,
}

/// A file that was read to its end and is whole.
#[derive(Debug)]
pub(crate) struct Whole {
    counts: Counts,
    limits: Limits,
    /// The sum of all lines up to the end of each part.
    sums: Vec<[u8; 32]>,
}

/// How much a file may have, and how much of it is given away together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) tokens: u64,
    pub(super) part: usize,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("line 1: this is no export of `rolegate token export`")]
    Foreign,
    #[error(
        "line 1: the export has version {found}, and this version of rolegate reads versions up to {VERSION}: import \
         it with the version that wrote it"
    )]
    Newer { found: u64 },
    #[error("line 1: the export has version {found}, which no version of rolegate writes: it was altered")]
    NoVersion { found: u64 },
    #[error(
        "line {line}: the file ends before its last line, which starts with `{{\"end\":`: it was cut short"
    )]
    Cut { line: u64 },
    #[error(
        "line {line}: the sum of the lines before is another one: the file was altered after it was written"
    )]
    Altered { line: u64 },
    #[error(
        "line {line}: from here on, the file is not what it was when it was checked, since somebody changed it meanwhile: \
         no more of it is imported"
    )]
    Changed { line: u64 },
    #[error("whoever was given its entries wants no more of them")]
    Stopped,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The first line; later versions may say more.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
}

/// Any other line; it has exactly one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    token: Option<TokenLine>,
    spent: Option<String>,
    end: Option<End>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    tokens: u64,
    spent: u64,
    sha256: String,
}

/// The lines of a file and how far it is read.
struct Lines<R> {
    from: R,
    line: u64,
    text: Vec<u8>,
    sum: Sha256,
    counts: Counts,
    limits: Limits,
}

/// Reads a file and gives each entry to `each`, with the number of its line.
///
/// # Errors
/// When the file is none, is not whole, or was altered; and the first error of `each`.
pub(crate) fn read(
    from: impl BufRead,
    each: impl FnMut(u64, Entry) -> Result<(), BackupError>,
) -> Result<Whole, BackupError> {
    read_within(Limits { tokens: TOKENS_MAX, part: PART_ENTRIES }, from, each)
}

/// The same within other limits.
pub(super) fn read_within(
    limits: Limits,
    from: impl BufRead,
    mut each: impl FnMut(u64, Entry) -> Result<(), BackupError>,
) -> Result<Whole, BackupError> {
    let (mut lines, mut sums) = (Lines::new(from, limits), Vec::new());
    lines.head()?;
    let mut left = limits.part;
    while let Some(entry) = lines.next()? {
        each(lines.line, entry)?;
        left -= 1;
        if left == 0 {
            sums.push(lines.sum());
            left = limits.part;
        }
    }
    sums.push(lines.sum());
    Ok(Whole { counts: lines.counts, limits, sums })
}

/// Reads a file again that was whole, and gives its entries to `each` in parts, with the numbers of their lines. A part is
/// given away when its lines, and all before, are those of the file that was whole.
///
/// # Errors
/// When the file is another one by now; and the first error of `each`.
pub(crate) fn read_again(
    from: impl BufRead,
    whole: &Whole,
    mut each: impl FnMut(Vec<(u64, Entry)>) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut lines = Lines::new(from, whole.limits);
    let mut start = 1;
    let changed = |line| {
        move |error| match error {
            BackupError::Io(error) => BackupError::Io(error),
            _ => BackupError::Changed { line },
        }
    };
    lines.head().map_err(changed(start))?;
    start = 2;
    for sum in &whole.sums {
        let mut part = Vec::new();
        while part.len() < whole.limits.part {
            let Some(entry) = lines.next().map_err(changed(start))? else { break };
            part.push((lines.line, entry));
        }
        if lines.sum() != *sum {
            return Err(BackupError::Changed { line: start });
        }
        start = lines.line + 1;
        if !part.is_empty() {
            each(part)?;
        }
    }
    Ok(())
}

impl Whole {
    /// How much it holds.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }
}

impl<R: BufRead> Lines<R> {
    fn new(from: R, limits: Limits) -> Self {
        let (text, sum, counts) = (Vec::new(), Sha256::new(), Counts::default());
        Self { from, line: 0, text, sum, counts, limits }
    }

    /// The sum of the lines up to here, but the last one of the file.
    fn sum(&self) -> [u8; 32] {
        self.sum.clone().finalize().into()
    }

    fn head(&mut self) -> Result<(), BackupError> {
        if !self.read_line().map_err(|error| if error.is_io() { error } else { BackupError::Foreign })? {
            return Err(BackupError::Foreign);
        }
        let head: Head = serde_json::from_slice(&self.text).map_err(|_| BackupError::Foreign)?;
        match head {
            Head { format, .. } if format != FORMAT => Err(BackupError::Foreign),
            Head { version: VERSION, .. } => {
                self.sum.update(&self.text);
                Ok(())
            }
            Head { version: found, .. } if found < VERSION => Err(BackupError::NoVersion { found }),
            Head { version: found, .. } => Err(BackupError::Newer { found }),
        }
    }

    fn next(&mut self) -> Result<Option<Entry>, BackupError> {
        if !self.read_line()? {
            return Err(BackupError::Cut { line: self.line });
        }
        let line: Line = self.parse()?;
        let entry = match line {
            Line { token: Some(token), spent: None, end: None } if self.counts.spent == 0 => {
                self.counts.tokens += 1;
                if self.counts.tokens > self.limits.tokens {
                    return Err(self.wrong(format!("there are more than {} tokens", self.limits.tokens)));
                }
                let record = token.to_record();
                let what = |field| format!("`{field}` is not what a token may have there");
                Entry::Token(Box::new(record.map_err(|field| self.wrong(what(field)))?))
            }
            Line { token: None, spent: Some(digest), end: None } => {
                self.counts.spent += 1;
                let digest = TokenDigest::from_hex(&digest);
                Entry::Spent(digest.ok_or_else(|| self.wrong("`spent` is no digest".to_owned()))?)
            }
            Line { token: None, spent: None, end: Some(end) } => return self.end(&end).map(|()| None),
            _ => {
                let what = "a line has one of `token`, `spent` and `end`, and tokens come first";
                return Err(self.wrong(what.to_owned()));
            }
        };
        self.sum.update(&self.text);
        Ok(Some(entry))
    }

    fn end(&mut self, end: &End) -> Result<(), BackupError> {
        let counts = Counts { tokens: end.tokens, spent: end.spent };
        if counts != self.counts || end.sha256 != hex(&self.sum()) {
            return Err(BackupError::Altered { line: self.line });
        }
        if self.read_line()? {
            return Err(self.wrong("the file goes on after its last line".to_owned()));
        }
        Ok(())
    }

    /// Reads the next line with its end; `false` where the file ends.
    fn read_line(&mut self) -> Result<bool, BackupError> {
        self.line += 1;
        self.text.clear();
        let mut limited = self.from.by_ref().take(LINE_MAX_BYTES as u64 + 1);
        limited.read_until(b'\n', &mut self.text)?;
        if self.text.len() > LINE_MAX_BYTES {
            return Err(self.wrong(format!("it has more than {LINE_MAX_BYTES} bytes")));
        }
        if !self.text.is_empty() && self.text.last() != Some(&b'\n') {
            return Err(BackupError::Cut { line: self.line });
        }
        Ok(!self.text.is_empty())
    }

    /// Nothing of the line is repeated: somebody may have put a secret there.
    fn parse<T: DeserializeOwned>(&self) -> Result<T, BackupError> {
        serde_json::from_slice(&self.text).map_err(|error| {
            let what = if error.is_data() { "it has other fields than it may" } else { "it is not JSON" };
            self.wrong(format!("{what} (column {})", error.column()))
        })
    }

    const fn wrong(&self, what: String) -> BackupError {
        BackupError::Line { line: self.line, what }
    }
}

impl BackupError {
    const fn is_io(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}

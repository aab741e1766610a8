//! Line after line: whether each is the one that has to come.

use super::super::chain::Tail;
use super::super::line::{Link, hex, may_be_torn, may_begin};
use super::{FINDINGS_MAX, FileReport, Finding, Inspection, LastEntry, Shape, Wrong};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// So many gaps are remembered, so that an entry that turns up later is told as reordered.
const GAPS_MAX: usize = 1000;
/// So much of a line tells which entry it was to become.
const START_BYTES: usize = 32;
/// So many lines that are no entries are remembered one by one, between two entries.
const ODD_MAX: usize = 100;

/// What is known after so many lines.
pub(super) struct Check<'l> {
    wanted: Option<&'l LastEntry>,
    is_wanted_seen: bool,
    found: Inspection,
    line: u64,
    /// How the log ends so far, by the entries that stand where they belong.
    tail: Tail,
    /// The place of its last entry, and the digest of that line.
    last: Option<(Place, [u8; 32])>,
    /// SHA-256 of the line before, whatever it is: what earlier versions named after a torn line.
    before: [u8; 32],
    /// Lines since the last entry that are none.
    odd: Vec<Odd>,
    gaps: Vec<Gap>,
}

/// A line of a file, by the place of the file among the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: usize,
    line: u64,
}

/// A line that is no entry.
#[derive(Debug)]
struct Odd {
    place: Place,
    shape: Shape,
    /// What it starts with, as far as that tells whether it was to become an entry, and which.
    start: Vec<u8>,
}

/// Entries that were not where they belong.
#[derive(Debug)]
struct Gap {
    from: u64,
    to: u64,
    at: Place,
}

impl<'l> Check<'l> {
    pub(super) fn new(wanted: Option<&'l LastEntry>, packed: Vec<PathBuf>) -> Self {
        Self {
            wanted,
            is_wanted_seen: false,
            found: Inspection { packed, ..Inspection::default() },
            line: 0,
            tail: Tail::default(),
            last: None,
            before: [0; 32],
            odd: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Another file begins.
    pub(super) fn begin(&mut self, path: &Path) {
        self.found.files.push(FileReport { path: path.to_owned(), ..FileReport::default() });
        self.line = 0;
    }

    /// The next line of the file.
    pub(super) fn line(&mut self, text: &[u8], shape: Shape) {
        self.line += 1;
        if let Some(report) = self.found.files.last_mut() {
            report.is_cut = shape == Shape::Cut;
        }
        let link = if shape == Shape::TooLong { None } else { Link::read(text) };
        match link {
            Some(link) => self.entry(text, &link),
            None => {
                self.tail.pass(text);
                if self.odd.len() < ODD_MAX {
                    let start = text.get(..START_BYTES).unwrap_or(text).to_vec();
                    self.odd.push(Odd { place: self.place(), shape, start });
                }
            }
        }
        self.before = Sha256::digest(text).into();
    }

    fn entry(&mut self, text: &[u8], link: &Link) {
        let digest = Sha256::digest(text).into();
        self.note(link.seq, &digest);
        let expected = self.tail.seq.saturating_add(1);
        // A line that a crash cut short is known to the entry after it.
        let follows = link.prev == hex(&self.tail.digest()) || link.prev == hex(&self.before);
        if self.last.is_none() {
            if link.seq == 0 || (link.seq == 1 && !follows) {
                self.find(self.place(), Wrong::NoBeginning);
            }
            // What a log begins with whose beginning was moved away cannot be told, but for its number.
            self.settle_odd(follows, Some(link.seq));
        } else if follows {
            if link.seq != expected {
                self.find(self.place(), Wrong::Renumbered { entry: link.seq, was: expected });
            }
            self.settle_odd(true, None);
        } else if link.seq == expected {
            self.unlinked(link);
        } else if link.seq > expected {
            let gap = Gap { from: expected, to: link.seq - 1, at: self.place() };
            self.settle_odd(false, Some(expected));
            self.remember(gap);
        } else {
            let after = self.tail.seq;
            let is_missed = self.fill(link.seq);
            let entry = link.seq;
            self.find(
                self.place(),
                if is_missed { Wrong::Reordered { entry, after } } else { Wrong::Repeated { entry } },
            );
            // The next entry follows from the one before this.
            return;
        }
        let seq = if follows && self.last.is_some() { expected } else { link.seq };
        self.last = Some((self.place(), digest));
        self.tail = Tail::at(seq, text);
        self.found.last = Some((link.seq, digest));
    }

    /// An entry that has the right number and names another one than that before it.
    fn unlinked(&mut self, link: &Link) {
        let Some((place, digest)) = self.last else { return };
        if link.prev == hex(&digest) {
            // It follows from the last entry, and what stands between the two came later.
            for odd in std::mem::take(&mut self.odd) {
                self.find(odd.place, Wrong::Inserted);
            }
            return;
        }
        self.settle_odd(true, None);
        // What is known to be wrong with that line explains it.
        let is_known = self.found.findings.iter().any(|found| {
            let report = self.found.files.get(place.file);
            found.line == place.line && report.is_some_and(|report| report.path == found.file)
        });
        if !is_known {
            self.find(place, Wrong::Changed { entry: self.tail.seq });
        }
    }

    /// What becomes of the lines since the last entry that are none: torn, when the entry after them knows of them, or
    /// when they may be the beginning of the entry that had to come, whose number is `next` where that is known.
    fn settle_odd(&mut self, are_known: bool, next: Option<u64>) {
        for Odd { place, shape, start } in std::mem::take(&mut self.odd) {
            let may_be_torn = || next.map_or_else(|| may_be_torn(&start), |next| may_begin(&start, next));
            if shape == Shape::TooLong {
                self.find(place, Wrong::TooLong);
            } else if are_known || may_be_torn() {
                self.found.torn += 1;
                if let Some(report) = self.found.files.get_mut(place.file) {
                    report.torn += 1;
                }
            } else {
                self.find(place, Wrong::Foreign);
            }
        }
    }

    fn note(&mut self, seq: u64, digest: &[u8; 32]) {
        if self.found.entries == 0 {
            self.found.first = seq;
        }
        self.found.entries += 1;
        if let Some(report) = self.found.files.last_mut() {
            report.entries += 1;
            report.range = Some((report.range.map_or(seq, |(first, _)| first), seq));
        }
        if let Some(wanted) = self.wanted.filter(|wanted| wanted.seq == seq && !self.is_wanted_seen) {
            self.is_wanted_seen = true;
            if !wanted.is(digest) {
                self.find(self.place(), Wrong::LastChanged { entry: seq, digest: hex(digest) });
            }
        }
    }

    fn remember(&mut self, gap: Gap) {
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        } else {
            self.find(gap.at, Wrong::Missing { from: gap.from, to: gap.to });
        }
    }

    /// Takes an entry out of the gaps; `false` when it is in none.
    fn fill(&mut self, seq: u64) -> bool {
        let Some(at) = self.gaps.iter().position(|gap| (gap.from..=gap.to).contains(&seq)) else {
            return false;
        };
        let gap = self.gaps.swap_remove(at);
        for (from, to) in [(gap.from, seq - 1), (seq + 1, gap.to)] {
            if from <= to {
                self.gaps.push(Gap { from, to, at: gap.at });
            }
        }
        true
    }

    /// What the whole log holds.
    pub(super) fn end(mut self) -> Inspection {
        self.settle_odd(false, self.last.is_some().then(|| self.tail.seq.saturating_add(1)));
        for gap in std::mem::take(&mut self.gaps) {
            self.find(gap.at, Wrong::Missing { from: gap.from, to: gap.to });
        }
        if let Some(wanted) = self.wanted.filter(|_| !self.is_wanted_seen) {
            let (entry, last) = (wanted.seq, self.tail.seq);
            let file = self.found.files.len().saturating_sub(1);
            self.find(Place { file, line: 0 }, Wrong::LastMissing { entry, last });
        }
        let order = |found: &Finding, files: &[FileReport]| {
            let file = files.iter().position(|report| report.path == found.file);
            (file, found.line == 0, found.line)
        };
        let Inspection { findings, files, .. } = &mut self.found;
        findings.sort_by_key(|found| order(found, files));
        self.found
    }

    fn find(&mut self, place: Place, wrong: Wrong) {
        let file = self.found.files.get(place.file).map(|report| report.path.clone()).unwrap_or_default();
        if self.found.findings.len() < FINDINGS_MAX {
            self.found.findings.push(Finding { file, line: place.line, wrong });
        } else {
            self.found.more_findings += 1;
        }
    }

    fn place(&self) -> Place {
        Place { file: self.found.files.len().saturating_sub(1), line: self.line }
    }
}

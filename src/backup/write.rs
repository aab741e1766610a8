//! Writing the file, line by line.

use super::line::{TokenLine, hex};
use super::read::Counts;
use super::{FORMAT, VERSION};
use crate::time::Timestamp;
use crate::token::TokenDigest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::mem;

/// A file that is being written.
pub(crate) struct Writer {
    lines: String,
    sum: Sha256,
    counts: Counts,
}

#[derive(Serialize)]
struct Head {
    format: &'static str,
    version: u64,
    exported: String,
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a TokenLine,
}

#[derive(Serialize)]
struct Spent {
    spent: String,
}

#[derive(Serialize)]
struct End {
    end: Sum,
}

#[derive(Serialize)]
struct Sum {
    tokens: u64,
    spent: u64,
    sha256: String,
}

impl Writer {
    /// Begins a file.
    pub(crate) fn start(now: Timestamp) -> Self {
        let mut writer = Self { lines: String::new(), sum: Sha256::new(), counts: Counts::default() };
        writer.line(&Head { format: FORMAT, version: VERSION, exported: now.to_string() });
        writer
    }

    /// Adds a token. All of them come before the spent digests.
    pub(crate) fn token(&mut self, token: &TokenLine) {
        self.counts.tokens += 1;
        self.line(&Token { token });
    }

    /// Adds a spent digest.
    pub(crate) fn spent(&mut self, digest: &TokenDigest) {
        self.counts.spent += 1;
        self.line(&Spent { spent: hex(digest.as_bytes()) });
    }

    /// Ends the file, and tells what it has. A file without this line is not read.
    pub(crate) fn finish(&mut self) -> Counts {
        let (counts, sum) = (self.counts, hex(&self.sum.clone().finalize()));
        self.line(&End { end: Sum { tokens: counts.tokens, spent: counts.spent, sha256: sum } });
        counts
    }

    /// The lines since the last call.
    pub(crate) fn take(&mut self) -> String {
        mem::take(&mut self.lines)
    }

    /// What was added so far.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    fn line(&mut self, line: &impl Serialize) {
        // Lines are texts and numbers under names: nothing that JSON cannot hold.
        let mut line = serde_json::to_string(line).unwrap_or_default();
        line.push('\n');
        self.sum.update(line.as_bytes());
        self.lines.push_str(&line);
    }
}

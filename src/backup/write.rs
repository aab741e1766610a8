//! Writing the file, line by line.

use super::line::{TokenLine, hex};
use super::read::Counts;
use super::{FORMAT, TOKENS_MAX, VERSION};
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
    tokens_max: u64,
}

/// There are more tokens than a file may have.
#[derive(Debug, thiserror::Error)]
#[error(
    "there are more than {limit} tokens, and an export has no more: stop the server and copy its data folder instead"
)]
pub(crate) struct TooManyTokens {
    limit: u64,
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
        Self::with_limit(TOKENS_MAX, now)
    }

    /// The same with another limit to the number of tokens.
    pub(super) fn with_limit(tokens_max: u64, now: Timestamp) -> Self {
        let (lines, sum, counts) = (String::new(), Sha256::new(), Counts::default());
        let mut writer = Self { lines, sum, counts, tokens_max };
        writer.line(&Head { format: FORMAT, version: VERSION, exported: now.to_string() });
        writer
    }

    /// Adds a token. All of them come before the spent digests.
    ///
    /// # Errors
    /// When there are more of them than a file may have.
    pub(crate) fn token(&mut self, token: &TokenLine) -> Result<(), TooManyTokens> {
        if self.counts.tokens >= self.tokens_max {
            return Err(TooManyTokens { limit: self.tokens_max });
        }
        self.counts.tokens += 1;
        self.line(&Token { token });
        Ok(())
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

//! What ties the lines of a log together: each names the digest of the entry before it, with whatever a crash left
//! between the two.

use super::line::Link;
use sha2::{Digest as _, Sha256};

/// Where a log ends, and what the next line names.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// The number of the last entry; zero before the first.
    pub(super) seq: u64,
    /// Of the last entry and of what follows it; `None` before the first line.
    chain: Option<Sha256>,
    /// Whether the last line lacks its end.
    pub(super) is_torn: bool,
}

impl Tail {
    /// A log whose last entry has this number and is this line.
    pub(super) fn at(seq: u64, line: &[u8]) -> Self {
        Self { seq, chain: Some(Sha256::new_with_prefix(line)), is_torn: false }
    }

    /// The same end, for a line that stands in another file and not behind one that lacks its end.
    #[must_use]
    pub(super) fn in_next_file(self) -> Self {
        Self { is_torn: false, ..self }
    }

    /// What the next line names: SHA-256 of the last entry and of whatever follows it, without the last line end;
    /// zeros before the first line.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.chain.as_ref().map_or([0; 32], |chain| chain.clone().finalize().into())
    }

    /// Takes in one more line, given without its end.
    pub(super) fn follow(&mut self, line: &[u8]) {
        match Link::read(line) {
            Some(link) => *self = Self { is_torn: self.is_torn, ..Self::at(link.seq, line) },
            None => self.pass(line),
        }
    }

    /// Takes in one more line that is no entry.
    pub(super) fn pass(&mut self, line: &[u8]) {
        let mut chain = self.chain.take();
        if let Some(chain) = &mut chain {
            chain.update(b"\n");
        }
        let mut chain = chain.unwrap_or_default();
        chain.update(line);
        self.chain = Some(chain);
    }

    /// Takes in what was appended.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        let text = if self.is_torn { bytes.strip_prefix(b"\n").unwrap_or(bytes) } else { bytes };
        self.is_torn = *last != b'\n';
        if !text.is_empty() {
            let lines = text.strip_suffix(b"\n").unwrap_or(text);
            lines.split(|byte| *byte == b'\n').for_each(|line| self.follow(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_that_is_taken_in_piece_by_piece_ends_as_the_whole_does() {
        let text = b"{\"seq\":1,\"prev\":\"\"}\n{\"seq\":2,\"pr\n{\"se\n{\"seq\":2,\"prev\":\"\"}\n{\"seq\"";
        let end = |tail: &Tail| (tail.seq, tail.digest(), tail.is_torn);
        let mut whole = Tail::default();
        whole.extend(text);
        assert_eq!((whole.seq, whole.is_torn), (2, true));
        let cuts: Vec<usize> = (0..=text.len()).filter(|at| *at == 0 || text[*at - 1] == b'\n').collect();
        for cut in cuts {
            let mut tail = Tail::default();
            tail.extend(&text[..cut]);
            tail.extend(&text[cut..]);
            assert_eq!(end(&tail), end(&whole), "cut at {cut}");
        }
    }

    #[test]
    fn torn_line_hides_no_change_of_the_entry_before_it() {
        let end = |text: &[u8]| {
            let mut tail = Tail::default();
            tail.extend(text);
            tail.digest()
        };
        let torn = b"{\"seq\":1,\"prev\":\"a\"}\n{\"seq\":2";
        let changed = b"{\"seq\":1,\"prev\":\"b\"}\n{\"seq\":2";
        assert_ne!(end(torn), end(changed));
        let mut ended = torn.to_vec();
        ended.push(b'\n');
        assert_eq!(end(torn), end(&ended), "the end of a torn line comes with the next entry");
    }
}

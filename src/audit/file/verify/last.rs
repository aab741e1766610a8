//! An entry that somebody remembers: by it, a log that was cut off at its end is told.

use super::super::line::hex;
use std::str::FromStr;

/// The fewest digits of a digest that tell one entry from another.
pub(super) const DIGITS_MIN: usize = 16;
const DIGITS_MAX: usize = 64;

/// The number of an entry, and its digest or the beginning of it: `1234` or `1234:9f86d081884c7d65`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEntry {
    pub(super) seq: u64,
    digest: Option<String>,
}

/// Why a text is no such entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LastEntryError {
    /// The number.
    #[error("write the number of an entry, from 1 on")]
    Number,
    /// The digest.
    #[error("write 16 to 64 hexadecimal digits of the digest after the colon, or no colon")]
    Digest,
}

impl LastEntry {
    /// Whether the entry with this number may have this digest.
    pub(super) fn is(&self, digest: &[u8; 32]) -> bool {
        self.digest.as_ref().is_none_or(|wanted| hex(digest).starts_with(wanted.as_str()))
    }
}

impl FromStr for LastEntry {
    type Err = LastEntryError;

    fn from_str(text: &str) -> Result<Self, LastEntryError> {
        let (number, digest) =
            text.split_once(':').map_or((text, None), |(number, rest)| (number, Some(rest)));
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let seq = number.parse().ok().filter(|seq| is_number && *seq > 0).ok_or(LastEntryError::Number)?;
        let is_digest = |digits: &str| {
            (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if digest.is_some_and(|digits| !is_digest(digits)) {
            return Err(LastEntryError::Digest);
        }
        Ok(Self { seq, digest: digest.map(str::to_ascii_lowercase) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_digest_are_read_and_nothing_else() {
        let read = |text: &str| text.parse::<LastEntry>();
        assert_eq!(read("7"), Ok(LastEntry { seq: 7, digest: None }));
        let full = format!("7:{}", "aB".repeat(32));
        assert!(read(&full).unwrap().is(&[0xab; 32]) && !read(&full).unwrap().is(&[0xac; 32]));
        assert!(read("7:abababababababab").unwrap().is(&[0xab; 32]));
        for text in ["", "0", "-1", "+1", " 1", "x", ":abababababababab", "99999999999999999999"] {
            assert_eq!(read(text), Err(LastEntryError::Number), "{text}");
        }
        for text in ["1:", "1:abababababababa", "1:gggggggggggggggg", &format!("{full}a")] {
            assert_eq!(read(text), Err(LastEntryError::Digest), "{text}");
        }
    }
}

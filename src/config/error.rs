//! What can be wrong with a configuration, and what is merely worth a word.

use super::place::{Origin, Place};
pub(super) use crate::yaml::shown;
use std::fmt;
use std::path::PathBuf;

/// The most problems that are collected; a file with more of them is no configuration.
pub const PROBLEMS_MAX: usize = 50;

/// Everything that is wrong with a configuration, in the order of the files.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where; `None` when it is nowhere, such as a key that is missing.
    pub at: Option<Origin>,
    /// What.
    pub problem: Problem,
}

/// What is wrong. Keys and values come escaped and cut to a printable length.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system does not give the file.
    #[error("cannot be read: {0}; name the files with `--config`")]
    Unreadable(String),
    /// A folder was named as a file.
    #[error("is a folder; name the files in it, each with its own `--config`")]
    Folder,
    /// No file at all was named.
    #[error("no configuration file is named; use `--config FILE`")]
    NoFiles,
    /// More files than a configuration may have.
    #[error("a configuration has at most {0} files")]
    TooManyFiles(usize),
    /// Larger than a file may be.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    /// Bytes that are no UTF-8.
    #[error("this is not UTF-8 text")]
    NotUtf8,
    /// A byte order mark.
    #[error("the file has a byte order mark; save it as UTF-8 without one")]
    ByteOrderMark,
    /// A character that is invisible, or that readers of YAML see differently.
    #[error("the character U+{:04X} has no place in a configuration; in text write it as an escape", *.0 as u32)]
    Character(char),
    /// Not YAML.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// Nothing in it.
    #[error("the file is empty; leave it out, or write the configuration into it")]
    Empty,
    /// Text, a list, …
    #[error("a configuration is a map, such as `rolegate: {{…}}`, and this is {0}")]
    NotAMap(&'static str),
    /// A second document.
    #[error("a second document starts here; a configuration file is one document")]
    SeveralDocuments,
    /// An anchor.
    #[error("anchors are not accepted; write the value where it is needed")]
    Anchor,
    /// An alias.
    #[error("aliases are not accepted; write the value where it is needed")]
    Alias,
    /// A tag.
    #[error("tags are not accepted; put text in quotes instead")]
    Tag,
    /// Nested more deeply than any configuration is.
    #[error("nested more than {0} levels deep")]
    TooDeep(usize),
    /// More keys and values than any configuration has.
    #[error("more than {0} keys and values")]
    TooManyNodes(usize),
    /// The same key again.
    #[error("the key `{key}` stands here a second time; the first is at {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it stands first.
        first: Place,
    },
    /// A key that is a number, a list, …
    #[error("a key must be text; put it in quotes")]
    KeyNotText,
    /// An integer of more than 64 bits. It is not repeated: it may be a secret.
    #[error("a number this large is not accepted; if it is text, put it in quotes")]
    NumberTooLarge,
    /// Two readers of YAML do not agree on this value.
    #[error("this can be read in two ways; put it in quotes, on one line")]
    Ambiguous,
    /// A key that does not exist.
    #[error("unknown key `{key}`{}", hint(.nearest.as_deref()))]
    UnknownKey {
        /// The key, with all above it.
        key: String,
        /// The known key that it resembles.
        nearest: Option<String>,
    },
    /// A variable that would override a key that does not exist.
    #[error("overrides no key{}", hint(.nearest.as_deref()))]
    UnknownVariable {
        /// The known variable that it resembles.
        nearest: Option<String>,
    },
    /// A list where a map is needed, and the like.
    #[error("`{key}` must be {expected}, and this is {found}{hint}")]
    WrongShape {
        /// The key.
        key: String,
        /// What it must be.
        expected: String,
        /// What stands there.
        found: &'static str,
        /// What to do about it, when that can be known.
        hint: &'static str,
    },
    /// A value that the key does not take.
    #[error("`{key}`: {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// Why not, and what to write instead.
        reason: String,
    },
    /// A key that must be there.
    #[error("`{key}` is missing: {hint}")]
    Missing {
        /// The key.
        key: String,
        /// What to write.
        hint: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("`{key}` and `{other}` are both given ({at}); keep one of them")]
    Both {
        /// One key.
        key: String,
        /// The other one.
        other: String,
        /// Where the other one stands.
        at: Place,
    },
    /// The same thing twice.
    #[error("`{key}`: the same {what} is already given at {first}")]
    Twice {
        /// The key.
        key: String,
        /// What is given twice.
        what: &'static str,
        /// Where it is given first.
        first: Origin,
    },
    /// The token that everybody can read in the project's own files.
    #[error(
        "`{key}` is the token published with rolegate, and `{listen}` is reached from other machines; choose a token of your own"
    )]
    PublishedToken {
        /// The key.
        key: String,
        /// The address.
        listen: String,
    },
    /// More problems than are listed.
    #[error("more than {PROBLEMS_MAX} problems; mend these first")]
    More,
}

/// Something that is accepted, and should not go unsaid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub at: Origin,
    /// What.
    pub notice: Notice,
}

/// What should not go unsaid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// A key that belongs to the chart, and that rolegate makes no use of.
    #[error("`{0}` has no effect here")]
    NoEffect(String),
    /// A file with a secret that others can read.
    #[error("the file holds a secret and can be read by others; run `chmod 600` on it")]
    ReadableByOthers,
    /// A secret that can be guessed.
    #[error("`{key}` may be guessed: about {bits} bits, and 128 are needed; choose a longer one at random")]
    Weak {
        /// The key.
        key: String,
        /// The estimate.
        bits: u32,
    },
    /// The token that everybody can read in the project's own files.
    #[error("`{0}` is the token published with rolegate; choose your own before others can reach the server")]
    Published(String),
}

impl ConfigErrors {
    /// Orders the problems by place, file after file; what is nowhere comes first, what is in no file last.
    pub(crate) fn new(mut errors: Vec<ConfigError>, files: &[PathBuf]) -> Self {
        errors.sort_by_key(|error| match &error.at {
            None => (0, 0, 0),
            Some(Origin::File(place)) => {
                let file = files.iter().position(|file| **file == *place.file);
                (file.unwrap_or(files.len()) + 1, place.line, place.column)
            }
            Some(_) => (usize::MAX, 0, 0),
        });
        if errors.len() > PROBLEMS_MAX {
            errors.truncate(PROBLEMS_MAX);
            errors.push(ConfigError { at: None, problem: Problem::More });
        }
        Self(errors)
    }

    /// The problems, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.notice)
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

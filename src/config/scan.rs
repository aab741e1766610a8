//! The first look at a configuration file: its limits, and its problems in the words of the configuration.

use super::error::{ConfigError, Problem};
use super::place::Place;
use crate::yaml::{self, Limits, Node, YamlError, YamlProblem};
use std::path::Path;
use std::sync::Arc;

/// The largest configuration file, in bytes.
pub const FILE_MAX_BYTES: usize = 1024 * 1024;
/// The deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 32;
/// The most keys and values of one file.
pub const NODES_MAX: usize = 50_000;
/// The longest key, in bytes.
pub const KEY_MAX_BYTES: usize = 256;

const LIMITS: Limits =
    Limits { bytes: FILE_MAX_BYTES, depth: DEPTH_MAX, nodes: NODES_MAX, key_bytes: KEY_MAX_BYTES };

/// Reads the bytes of a file as text without invisible characters.
pub(super) fn text<'a>(file: &Arc<Path>, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    yaml::text(bytes, LIMITS).map_err(|wrong| error(file, wrong))
}

/// Reads the events of one document. All problems are reported, up to the first that ends the reading.
pub(super) fn read(file: &Arc<Path>, text: &str) -> Result<Node, Vec<ConfigError>> {
    yaml::read(text, LIMITS).map_err(|wrong| wrong.into_iter().map(|wrong| error(file, wrong)).collect())
}

/// A place in this file.
pub(super) fn place(file: &Arc<Path>, place: yaml::Place) -> Place {
    Place { file: Arc::clone(file), line: place.line, column: place.column }
}

fn error(file: &Arc<Path>, wrong: YamlError) -> ConfigError {
    let problem = match wrong.problem {
        YamlProblem::TooLarge(most) => Problem::TooLarge(most),
        YamlProblem::NotUtf8 => Problem::NotUtf8,
        YamlProblem::ByteOrderMark => Problem::ByteOrderMark,
        YamlProblem::Character(letter) => Problem::Character(letter),
        YamlProblem::Syntax(reason) => Problem::Syntax(reason),
        YamlProblem::Empty => Problem::Empty,
        YamlProblem::SeveralDocuments => Problem::SeveralDocuments,
        YamlProblem::Anchor => Problem::Anchor,
        YamlProblem::Alias => Problem::Alias,
        YamlProblem::Tag => Problem::Tag,
        YamlProblem::TooDeep(most) => Problem::TooDeep(most),
        YamlProblem::TooManyNodes(most) => Problem::TooManyNodes(most),
        YamlProblem::KeyNotText => Problem::KeyNotText,
        YamlProblem::KeyTooLong { key, limit } => {
            Problem::BadValue { key, reason: format!("a key has at most {limit} bytes") }
        }
        YamlProblem::DuplicateKey { key, first } => Problem::DuplicateKey { key, first: place(file, first) },
    };
    ConfigError { at: Some(place(file, wrong.place).into()), problem }
}

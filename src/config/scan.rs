//! The first look at a configuration file: its limits, and its problems in the words of the configuration.

use super::error::{ConfigError, Problem};
use super::place::Place;
use crate::yaml::{self, Content, Limits, Node, YamlError, YamlProblem};
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

/// A value as the events tell it: where it stands and what it is made of.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) place: Place,
    pub(super) kind: ShapeKind,
}

/// What a value is made of. Whether a scalar is text or a number is not for the events to say.
#[derive(Debug)]
pub(super) enum ShapeKind {
    Scalar(String),
    List(Vec<Shape>),
    Map(Vec<(Key, Shape)>),
}

/// A key and its place.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Reads the bytes of a file as text without invisible characters.
pub(super) fn text<'a>(file: &Arc<Path>, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    yaml::text(bytes, LIMITS).map_err(|wrong| error(file, wrong))
}

/// Reads the events of one document. All problems are reported, up to the first that ends the reading.
pub(super) fn shape(file: &Arc<Path>, text: &str) -> Result<Shape, Vec<ConfigError>> {
    let root = yaml::read(text, LIMITS);
    let root = root.map_err(|wrong| wrong.into_iter().map(|wrong| error(file, wrong)).collect::<Vec<_>>())?;
    Ok(located(file, root))
}

/// The same value with the file in every place. As deep as the limit on nesting allows.
fn located(file: &Arc<Path>, node: Node) -> Shape {
    let kind = match node.content {
        Content::Scalar { text, .. } => ShapeKind::Scalar(text),
        Content::List(items) => ShapeKind::List(items.into_iter().map(|item| located(file, item)).collect()),
        Content::Map(entries) => {
            let key = |key: yaml::Key| Key { text: key.text, place: place(file, key.place) };
            ShapeKind::Map(entries.into_iter().map(|(name, node)| (key(name), located(file, node))).collect())
        }
    };
    Shape { place: place(file, node.place), kind }
}

fn place(file: &Arc<Path>, place: yaml::Place) -> Place {
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

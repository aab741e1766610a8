//! A configuration as a tree of located values, and how files are laid over each other.

use super::error::{ConfigError, Problem, shown};
use super::place::Place;
use super::scan;
use crate::yaml::{self, Content as Told};
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A value and its place. No `Debug`: it may hold a secret.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Content {
    Null,
    Bool(String),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Entry>),
}

/// A key of a map with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Node {
    /// A map without keys.
    pub(super) fn empty_map(file: &Arc<Path>) -> Self {
        Self { place: Place::whole(file), content: Content::Map(BTreeMap::new()) }
    }

    /// The value of a key of this map.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.get(key),
            _ => None,
        }
    }

    /// The value at a path of keys, `a.b.c`, from this map down.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| node.get(key).map(|entry| &entry.node))
    }

    /// What this is, for a message.
    pub(super) fn what(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// Lays a later file over this one: maps merge, everything else is replaced, null takes away.
    pub(super) fn overlay(&mut self, later: Self) {
        let Content::Map(from) = later.content else {
            *self = later;
            return;
        };
        if !matches!(self.content, Content::Map(_)) {
            *self = Self { place: later.place, content: Content::Map(BTreeMap::new()) };
        }
        let Content::Map(into) = &mut self.content else { return };
        for (key, entry) in from {
            match (into.get_mut(&key), &entry.node.content) {
                (_, Content::Null) => {
                    into.remove(&key);
                }
                (Some(earlier), _) => {
                    earlier.key_place = entry.key_place;
                    earlier.node.overlay(entry.node);
                }
                (None, _) => {
                    // An empty map first, so that a null further down is no key here either.
                    let place = entry.node.place.clone();
                    let mut node = Self { place, content: Content::Map(BTreeMap::new()) };
                    node.overlay(entry.node);
                    into.insert(key, Entry { key_place: entry.key_place, node });
                }
            }
        }
    }
}

/// Brings together what the events told and what was built: places from the one, types from the other.
/// Where both do not agree, the file could be read in two ways and is refused.
pub(super) fn join(file: &Arc<Path>, told: yaml::Node, built: Value) -> Result<Node, ConfigError> {
    let place = scan::place(file, told.place);
    let content = match (told.content, built) {
        (Told::Scalar { .. }, Value::Null) => Content::Null,
        (Told::Scalar { text, .. }, Value::Bool(_)) => Content::Bool(text),
        (Told::Scalar { text, .. }, Value::Number(_)) => Content::Number(text),
        (Told::Scalar { text, .. }, Value::String(built)) if text == built => Content::Text(text),
        (Told::List(items), Value::Sequence(values)) if items.len() == values.len() => {
            let nodes = items.into_iter().zip(values).map(|(item, value)| join(file, item, value));
            Content::List(nodes.collect::<Result<_, _>>()?)
        }
        (Told::Map(entries), Value::Mapping(values)) if entries.len() == values.len() => {
            let mut map = BTreeMap::new();
            for ((key, node), (built, value)) in entries.into_iter().zip(values) {
                let key_place = scan::place(file, key.place);
                let problem = match built {
                    Value::String(built) if built == key.text => None,
                    Value::String(_) => Some(Problem::Ambiguous),
                    _ => Some(Problem::KeyNotText),
                };
                if let Some(problem) = problem {
                    return Err(ConfigError { at: Some(key_place.into()), problem });
                }
                map.insert(key.text, Entry { key_place, node: join(file, node, value)? });
            }
            Content::Map(map)
        }
        _ => return Err(ConfigError { at: Some(place.into()), problem: Problem::Ambiguous }),
    };
    Ok(Node { place, content })
}

/// Builds the values of a file that the scan has found harmless.
pub(super) fn build(file: &Arc<Path>, text: &str) -> Result<Value, ConfigError> {
    serde_yaml::from_str(text).map_err(|wrong| {
        let place = wrong.location().map_or_else(
            || Place::whole(file),
            |at| {
                let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                let place = yaml::Place { line: number(at.line()), column: number(at.column()) };
                scan::place(file, place.before(yaml::Place::end_of(text)))
            },
        );
        let reason = wrong.to_string();
        // The reason repeats the number.
        let problem = if reason.contains("invalid type: integer") {
            Problem::NumberTooLarge
        } else {
            Problem::Syntax(shown(&reason))
        };
        ConfigError { at: Some(place.into()), problem }
    })
}

//! Reads keys from the merged files, from environment variables and arguments, and notes where each came from.

use super::error::{ConfigError, Problem, Warning};
use super::keys::{FILES_VARIABLE, Key, Kind, LIST_MAX_ITEMS, VARIABLE_PREFIX, find};
use super::keys::{is_of_kubernetes, suggest_variable};
use super::node::{Content, Node};
use super::place::{Located, Origin};
use super::{Input, Setting, SettingValue};
use crate::network::NETWORKS_MAX;
use crate::token::ROLES_PER_TOKEN_MAX;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The merged configuration, and all that was noticed while it was read.
pub(super) struct Reader<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) root: Node,
    /// The files that others can read.
    pub(super) exposed: HashSet<Arc<Path>>,
    /// The variables that a value refers to.
    pub(super) referred: BTreeSet<String>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<Warning>,
    pub(super) settings: Vec<Setting>,
}

/// How a text becomes a value: the value, or why not.
pub(super) type Parse<T> = fn(&Key, &str) -> Result<T, String>;

impl Reader<'_> {
    /// A single value of the `rolegate` block. Arguments come first, then variables, files, and the default.
    pub(super) fn setting<T>(&mut self, path: &'static str, parse: Parse<T>) -> Option<Located<T>> {
        let key = find(path)?;
        let said = self.said(key)?;
        self.parse(key, path, said, parse)
    }

    /// A single value of a map in the files. `path` is the one for people.
    pub(super) fn field<T>(
        &mut self,
        map: &Node,
        key: &'static str,
        path: &str,
        parse: Parse<T>,
    ) -> Option<Located<T>> {
        let key = find(key)?;
        let said = scalar(&map.get(key.name())?.node)?;
        self.parse(key, path, said, parse)
    }

    pub(super) fn parse<T>(
        &mut self,
        key: &Key,
        path: &str,
        said: Located<String>,
        parse: Parse<T>,
    ) -> Option<Located<T>> {
        match parse(key, &said.value) {
            Ok(value) => {
                let is_switch = key.kind == Kind::Switch;
                let is_number = matches!(key.kind, Kind::Count(..) | Kind::Size(..))
                    && said.value.bytes().all(|byte| byte.is_ascii_digit());
                let shown = match said.value {
                    text if is_switch => SettingValue::Switch(text == "true"),
                    text if is_number => SettingValue::Number(text),
                    text => SettingValue::Text(text),
                };
                self.note(path, shown, &said.origin);
                Some(Located { value, origin: said.origin })
            }
            Err(reason) => {
                self.bad(path, &said.origin, reason);
                None
            }
        }
    }

    /// A list in the files. `None` when it is not there, or something in it is wrong.
    pub(super) fn list<T>(
        &mut self,
        node: Option<&Node>,
        key: &'static str,
        path: &str,
        parse: Parse<T>,
    ) -> Option<Vec<Located<T>>> {
        let (key, node) = (find(key)?, node?);
        let Content::List(items) = &node.content else { return None };
        let origin = Origin::from(node.place.clone());
        if items.len() > items_max(&key.kind) {
            self.bad(path, &origin, format!("this must be {}, and has {}", key.kind.describe(), items.len()));
            return None;
        }
        let mut said: Vec<Located<String>> = Vec::new();
        let mut values = Vec::new();
        for item in items {
            let origin = Origin::from(item.place.clone());
            let Content::Text(text) = &item.content else {
                self.bad(path, &origin, format!("an item must be text, and this is {}", item.what()));
                continue;
            };
            if let Some(first) = said.iter().find(|first| first.value == *text) {
                let first = first.origin.clone();
                self.error(origin, Problem::Twice { key: path.to_owned(), what: "item", first });
                continue;
            }
            said.push(Located { value: text.clone(), origin: origin.clone() });
            match parse(key, text) {
                Ok(value) => values.push(Located { value, origin }),
                Err(reason) => self.bad(path, &origin, reason),
            }
        }
        let complete = values.len() == items.len();
        self.note(path, SettingValue::List(said.into_iter().map(|item| item.value).collect()), &origin);
        complete.then_some(values)
    }

    /// A list of names or networks, from the variable, where commas separate them, or from the files.
    pub(super) fn names<T>(&mut self, path: &'static str, parse: Parse<T>) -> Option<Vec<T>> {
        let key = find(path)?;
        let Some(set) = self.variable(key) else {
            let node = self.root.at(path).cloned();
            return match node.as_ref().map(|node| &node.content) {
                None | Some(Content::Null) => Some(Vec::new()),
                Some(_) => {
                    let listed = self.list(node.as_ref(), path, path, parse)?;
                    Some(listed.into_iter().map(|item| item.value).collect())
                }
            };
        };
        let set = set?;
        let names: Vec<&str> = set.value.split(',').map(str::trim).collect();
        if names.len() > items_max(&key.kind) {
            self.bad(path, &set.origin, format!("this must be {}", key.kind.describe()));
            return None;
        }
        let parsed: Result<Vec<T>, String> = names.iter().map(|name| parse(key, name)).collect();
        let shown = names.iter().map(|name| (*name).to_owned()).collect();
        self.note(path, SettingValue::List(shown), &set.origin);
        parsed.map_err(|reason| self.bad(path, &set.origin, reason)).ok()
    }

    /// A list in the files that must be there and not be empty.
    pub(super) fn filled_list<T>(
        &mut self,
        map: &Node,
        key: &'static str,
        path: &str,
        hint: &'static str,
        parse: Parse<T>,
    ) -> Option<Vec<Located<T>>> {
        let node = find(key).and_then(|key| map.get(key.name())).map(|entry| &entry.node);
        match node.map(|node| &node.content) {
            Some(Content::List(items)) if !items.is_empty() => self.list(node, key, path, parse),
            None => self.missing(path, Some(map.place.clone().into()), hint),
            Some(Content::List(_)) => {
                let place = node.map_or(&map.place, |node| &node.place);
                self.missing(path, Some(place.clone().into()), hint)
            }
            // Of another shape, which is already said.
            Some(_) => None,
        }
    }

    /// Whether a variable or a file says anything about the key, right or wrong.
    pub(super) fn is_said(&self, key: &Key) -> bool {
        let variable = key.variable().map(|name| self.input.variables.get(&name));
        let node = self.root.at(key.path);
        variable.is_some_and(|set| !matches!(set, Err(super::VariableError::Missing)))
            || node.is_some_and(|node| !matches!(node.content, Content::Null))
    }

    /// What is said of a key of the `rolegate` block, by the first that says anything.
    pub(super) fn said(&mut self, key: &'static Key) -> Option<Located<String>> {
        if let Some(flag) = self.input.flags.iter().find(|flag| flag.key == key.path) {
            return Some(Located { value: flag.value.clone(), origin: Origin::Flag(flag.name) });
        }
        if let Some(set) = self.variable(key) {
            return set;
        }
        if let Some(node) = self.root.at(key.path) {
            return scalar(node);
        }
        key.default.map(|text| Located { value: text.to_owned(), origin: Origin::Default })
    }

    /// The variable that overrides a key: `Some(None)` when it is set and cannot be used, which is noted.
    pub(super) fn variable(&mut self, key: &Key) -> Option<Option<Located<String>>> {
        let name = key.variable()?;
        let origin = Origin::Variable(name.as_str().into());
        match self.input.variables.get(&name) {
            Err(super::VariableError::Missing) => None,
            Ok(value) => Some(Some(Located { value: value.to_owned(), origin })),
            Err(wrong) => {
                self.bad(key.path, &origin, format!("the variable {wrong}; unset it, or give it a value"));
                Some(None)
            }
        }
    }

    /// A variable that starts like ours and means nothing was probably mistyped.
    pub(super) fn refuse_unknown_variables(&mut self) {
        let input = self.input;
        let known: HashSet<String> = super::keys::KEYS.iter().filter_map(Key::variable).collect();
        let unknown =
            input.variables.names().filter(|name| name.starts_with(VARIABLE_PREFIX)).filter(|name| {
                !known.contains(*name) && *name != FILES_VARIABLE && !self.referred.contains(*name)
            });
        let errors = unknown
            .filter(|name| !is_of_kubernetes(name, input.variables.get(name).unwrap_or_default()))
            .map(|name| ConfigError {
                at: Some(Origin::Variable(name.into())),
                problem: Problem::UnknownVariable { nearest: suggest_variable(name) },
            });
        let errors: Vec<_> = errors.collect();
        self.errors.extend(errors);
    }

    pub(super) fn note(&mut self, path: &str, value: SettingValue, origin: &Origin) {
        self.settings.push(Setting { path: path.to_owned(), value, origin: origin.clone() });
    }

    pub(super) fn bad(&mut self, path: &str, origin: &Origin, reason: impl Into<String>) {
        // A value of the wrong shape is reported as that, and no second time as a wrong value.
        let is_said = self.errors.iter().any(|error| {
            error.at.as_ref() == Some(origin) && matches!(error.problem, Problem::WrongShape { .. })
        });
        if !is_said {
            let reason = reason.into();
            self.error(origin.clone(), Problem::BadValue { key: path.to_owned(), reason });
        }
    }

    /// A key is missing, unless it is there under a name that was already reported as mistyped.
    pub(super) fn missing<T>(&mut self, path: &str, at: Option<Origin>, hint: &'static str) -> Option<T> {
        let is_mistyped = self.errors.iter().any(|error| match &error.problem {
            Problem::UnknownKey { key, nearest: Some(nearest) } => {
                let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
                path.rsplit_once('.').is_some_and(|(above, name)| above == parent && name == nearest)
            }
            _ => false,
        });
        if !is_mistyped {
            let problem = Problem::Missing { key: path.to_owned(), hint };
            self.errors.push(ConfigError { at, problem });
        }
        None
    }

    pub(super) fn error(&mut self, at: Origin, problem: Problem) {
        self.errors.push(ConfigError { at: Some(at), problem });
    }
}

/// How many items a list of this kind has at most.
const fn items_max(kind: &Kind) -> usize {
    match kind {
        Kind::Roles => ROLES_PER_TOKEN_MAX,
        Kind::Networks => NETWORKS_MAX,
        Kind::FewNames(most) => *most,
        _ => LIST_MAX_ITEMS,
    }
}

/// The text of a single value; `None` when it is of another shape, which the check has reported.
pub(super) fn scalar(node: &Node) -> Option<Located<String>> {
    match &node.content {
        Content::Text(text) | Content::Number(text) | Content::Bool(text) => {
            Some(Located { value: text.clone(), origin: node.place.clone().into() })
        }
        Content::Null | Content::List(_) | Content::Map(_) => None,
    }
}

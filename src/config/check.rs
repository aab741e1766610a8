//! One file against the table of keys: what is unknown, and what has the wrong shape.

use super::error::{ConfigError, Notice, PROBLEMS_MAX, Problem, Warning, shown};
use super::keys::{Key, Kind, find, suggest};
use super::node::{Content, Entry, Node};
use super::place::Place;

/// The block that has two spellings.
const AUTHENTICATION: &str = "stackstate.authentication";

/// What a file says that it should not, and what it says in vain.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<Warning>,
}

/// Checks a whole file.
pub(super) fn check(root: &Node) -> Findings {
    let mut findings = Findings::default();
    let empty = match &root.content {
        Content::Null => true,
        Content::Map(entries) => entries.is_empty(),
        _ => false,
    };
    if empty {
        findings.error(&root.place, Problem::Empty);
    } else if let Content::Map(_) = root.content {
        findings.block(root, "", "");
    } else {
        findings.error(&root.place, Problem::NotAMap(root.what()));
    }
    findings
}

/// The name under which the table has a key.
pub(super) fn canonical<'a>(parent: &str, name: &'a str) -> &'a str {
    if parent == AUTHENTICATION && name == "serviceToken" { "servicetoken" } else { name }
}

impl Findings {
    /// Checks the keys of a map. `pattern` is its path in the table, `path` the one for people.
    fn block(&mut self, node: &Node, pattern: &str, path: &str) {
        let Content::Map(entries) = &node.content else {
            return self.shape(node, path, "a map");
        };
        for (name, entry) in entries {
            if self.errors.len() > PROBLEMS_MAX {
                return;
            }
            let below = join(path, &shown(name));
            match find(&join(pattern, canonical(pattern, name))) {
                Some(key) => self.value(key, entry, &below),
                None => {
                    let nearest = suggest(pattern, name);
                    self.error(&entry.key_place, Problem::UnknownKey { key: below, nearest });
                }
            }
        }
    }

    fn value(&mut self, key: &Key, entry: &Entry, path: &str) {
        let node = &entry.node;
        if matches!(node.content, Content::Null) {
            return;
        }
        match (&key.kind, &node.content) {
            (Kind::NoEffect, _) => {
                let notice = Notice::NoEffect(path.to_owned());
                self.warnings.push(Warning { at: entry.key_place.clone().into(), notice });
            }
            (Kind::Block, _) => self.block(node, key.path, path),
            (Kind::Named, Content::Map(entries)) => {
                for (name, entry) in entries {
                    if !matches!(entry.node.content, Content::Null) {
                        let pattern = join(key.path, "<name>");
                        self.block(&entry.node, &pattern, &join(path, &shown(name)));
                    }
                }
            }
            (Kind::Blocks, Content::List(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.block(item, &format!("{}[]", key.path), &format!("{path}[{at}]"));
                }
            }
            (
                Kind::Names | Kind::FewNames(_) | Kind::Networks | Kind::Roles | Kind::Paths,
                Content::List(_),
            ) => {}
            (kind, Content::Text(_)) if kind.is_scalar() => {}
            (Kind::Switch, Content::Bool(_)) => {}
            // What a number without a unit means is for the duration to say.
            (Kind::Duration(..) | Kind::Count(..) | Kind::Size(..), Content::Number(_)) => {}
            (kind, Content::Number(_) | Content::Bool(_)) if kind.is_text() => {
                self.shape_with(node, path, &kind.describe(), "; put it in quotes");
            }
            (kind, _) => self.shape(node, path, &kind.describe()),
        }
    }

    fn shape(&mut self, node: &Node, path: &str, expected: &str) {
        self.shape_with(node, path, expected, "");
    }

    fn shape_with(&mut self, node: &Node, path: &str, expected: &str, hint: &'static str) {
        let (key, expected) = (path.to_owned(), expected.to_owned());
        let problem = Problem::WrongShape { key, expected, found: node.what(), hint };
        self.error(&node.place, problem);
    }

    fn error(&mut self, place: &Place, problem: Problem) {
        self.errors.push(ConfigError { at: Some(place.clone().into()), problem });
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

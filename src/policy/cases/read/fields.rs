//! Maps, lists and texts of a file of cases, and the problems that are found in them.

use crate::policy::cases::CaseFile;
use crate::policy::error::{Location, PolicyErrors, Problem, nearest};
use crate::yaml::{self, Content, Key, Node, Place};
use std::sync::Arc;

/// The longest line that a message shows, in bytes.
const LINE_SHOWN_MAX_BYTES: usize = 200;

/// The file being read, and what is wrong with it so far.
pub(super) struct Reader {
    file: Arc<str>,
    problems: Vec<Problem>,
}

/// The entries of a map whose keys are known.
pub(super) struct Fields<'n> {
    place: Place,
    what: &'static str,
    entries: &'n [(Key, Node)],
}

impl Reader {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.into(), problems: Vec::new() }
    }

    pub(super) fn file_name(&self) -> &str {
        self.file.rsplit(['/', '\\']).next().unwrap_or_default()
    }

    pub(super) fn is_fine(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn location(&self, place: Place) -> Location {
        Location::new(&self.file, place.line, place.column)
    }

    pub(super) fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem::new(self.location(place), message));
    }

    pub(super) fn problem_with_help(&mut self, place: Place, message: String, help: String) {
        self.problems.push(Problem::new(self.location(place), message).with_help(help));
    }

    /// What was read, or all that is wrong, each with the line of `text` that it is about.
    pub(super) fn end(self, cases: CaseFile, text: &str) -> Result<CaseFile, PolicyErrors> {
        let lines: Vec<&str> = text.lines().collect();
        let mut problems = self.problems;
        for problem in &mut problems {
            let number = (problem.location.line as usize).checked_sub(1);
            let line = number.and_then(|number| lines.get(number)).copied();
            problem.line_text = line.filter(|line| line.len() <= LINE_SHOWN_MAX_BYTES).map(str::to_owned);
        }
        PolicyErrors::of(problems).map_or(Ok(cases), Err)
    }

    /// The entries of a map that may have these keys and no others.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &'static str,
        known: &[&str],
    ) -> Option<Fields<'n>> {
        let Content::Map(entries) = &node.content else {
            let message = format!("{what} must be a map, and this is {}", node.content.what());
            let help = format!("its keys are {}", known.join(", "));
            self.problem_with_help(node.place, message, help);
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                let message = format!("{what} has no key `{}`", yaml::shown(&key.text));
                let help = match nearest(&yaml::shown(&key.text), known.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("its keys are {}", known.join(", ")),
                };
                self.problem_with_help(key.place, message, help);
            }
        }
        Some(Fields { place: node.place, what, entries })
    }

    /// The value of a key that must be there.
    pub(super) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<&'n Node> {
        let node = fields.get(key);
        if node.is_none() {
            self.problem(fields.place, format!("{} needs the key `{key}`", fields.what));
        }
        node
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n [Node]> {
        if let Content::List(items) = &node.content {
            return Some(items);
        }
        self.problem(node.place, format!("`{key}` must be a list, and this is {}", node.content.what()));
        None
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n str> {
        match &node.content {
            Content::Scalar { text, .. } if !node.content.is_nothing() => Some(text),
            other => {
                self.problem(node.place, format!("`{key}` must be text, and this is {}", other.what()));
                None
            }
        }
    }
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }
}

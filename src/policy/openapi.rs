//! OpenAPI documents as far as policies are concerned: which routes an API has. Reads 3.0 and 3.1, YAML and JSON.

mod path;
mod server;

use super::error::{Location, PolicyErrors, Problem, nearest};
use super::warn::{Specification, SpecifiedRoute};
use crate::yaml::{self, Content, Key, Limits, Node, Place};
use path::Template;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// The most bytes of a document.
pub const OPENAPI_MAX_BYTES: usize = 8 * 1024 * 1024;
/// The deepest nesting of lists and maps in a document.
pub const OPENAPI_DEPTH_MAX: usize = 64;
/// The most keys and values of a document.
pub const OPENAPI_NODES_MAX: usize = 500_000;
/// The most routes of a document.
pub const OPENAPI_ROUTES_MAX: usize = 20_000;

const LIMITS: Limits = Limits {
    bytes: OPENAPI_MAX_BYTES,
    depth: OPENAPI_DEPTH_MAX,
    nodes: OPENAPI_NODES_MAX,
    key_bytes: super::ROUTE_MAX_BYTES,
};
/// The keys of a path that are methods, and the methods.
const METHODS: [(&str, &str); 7] = [
    ("get", "GET"),
    ("put", "PUT"),
    ("post", "POST"),
    ("delete", "DELETE"),
    ("options", "OPTIONS"),
    ("head", "HEAD"),
    ("patch", "PATCH"),
];
/// The other keys of a path.
const PATH_KEYS: [&str; 4] = ["summary", "description", "servers", "parameters"];

/// Reads a document. `prefix` takes the place of the paths of its servers.
///
/// # Errors
/// With everything that is wrong, or that cannot be told from this document alone.
pub fn read(file: &str, bytes: &[u8], prefix: Option<&str>) -> Result<Specification, PolicyErrors> {
    let mut reader =
        Reader { file: file.into(), problems: Vec::new(), specification: Specification::default() };
    reader.specification.file = Arc::clone(&reader.file);
    let root = yaml::text(bytes, LIMITS).map_err(|wrong| vec![wrong]);
    match root.and_then(|text| yaml::read(&json_as_yaml(text), LIMITS)) {
        Ok(root) => reader.document(&root, prefix),
        Err(errors) => {
            errors.into_iter().for_each(|error| reader.problem(error.place, error.problem.to_string()));
        }
    }
    if reader.problems.is_empty() {
        Ok(reader.specification)
    } else {
        Err(PolicyErrors::from(reader.problems))
    }
}

struct Reader {
    file: Arc<str>,
    problems: Vec<Problem>,
    specification: Specification,
}

impl Reader {
    fn document(&mut self, root: &Node, prefix: Option<&str>) {
        let Content::Map(entries) = &root.content else {
            return self.problem(
                root.place,
                format!("an OpenAPI document is a map, and this is {}", root.content.what()),
            );
        };
        if !self.is_known_version(root.place, entries) {
            return;
        }
        let prefixes = match prefix {
            Some(prefix) => vec![prefix.trim_end_matches('/').to_owned()],
            None => self.prefixes(entries).unwrap_or_else(|| vec![String::new()]),
        };
        self.specification.prefixes.clone_from(&prefixes);
        let Some(paths) = get(entries, "paths") else {
            return self
                .problem(root.place, "the document has no `paths`, so that there is nothing to compare");
        };
        let Content::Map(paths) = &paths.content else {
            return self.problem(
                paths.place,
                format!("`paths` must be a map, and this is {}", paths.content.what()),
            );
        };
        for (key, item) in paths {
            if !is_extension(key) {
                self.path(key, item, prefix, &prefixes);
            }
        }
        if self.specification.routes.is_empty() && self.problems.is_empty() {
            self.problem(root.place, "the document has no route, so that there is nothing to compare");
        }
    }

    fn is_known_version(&mut self, place: Place, entries: &[(Key, Node)]) -> bool {
        match get(entries, "openapi").map(|node| (node.place, &node.content)) {
            Some((_, Content::Scalar { text, .. })) if is_read(text) => true,
            Some((place, Content::Scalar { text, .. })) => {
                let message =
                    format!("the document is of OpenAPI `{}`; 3.0 and 3.1 are read", yaml::shown(text));
                self.problem(place, message);
                false
            }
            _ => {
                let message = match get(entries, "swagger") {
                    Some(_) => "the document is of Swagger 2; convert it to OpenAPI 3.0 or 3.1",
                    None => "this is no OpenAPI document: it has no `openapi: 3.0.0` or `openapi: 3.1.0`",
                };
                self.problem(place, message);
                false
            }
        }
    }

    fn path(&mut self, key: &Key, item: &Node, prefix: Option<&str>, prefixes: &[String]) {
        let Content::Map(entries) = &item.content else {
            let message = format!("a path must be a map, and this is {}", item.content.what());
            return self.problem(item.place, message);
        };
        if let Some((reference, _)) = entries.iter().find(|(key, _)| key.text == "$ref") {
            let message = format!(
                "the path `{}` is a reference, and references are not followed",
                yaml::shown(&key.text)
            );
            return self.problem_with_help(
                reference.place,
                message,
                "write the path here, or bundle the document first",
            );
        }
        let own = if prefix.is_none() { self.prefixes(entries) } else { None };
        let prefixes = own.as_deref().unwrap_or(prefixes);
        for (method_key, operation) in entries {
            let name = method_key.text.as_str();
            if let Some((_, method)) = METHODS.iter().find(|(key, _)| *key == name) {
                let Content::Map(fields) = &operation.content else {
                    let message = format!("`{name}` must be a map, and this is {}", operation.content.what());
                    self.problem(operation.place, message);
                    continue;
                };
                let own = if prefix.is_none() { self.prefixes(fields) } else { None };
                self.routes(method, key, method_key, own.as_deref().unwrap_or(prefixes));
            } else if name == "trace" {
                let note = "`trace` is left out: no rule can name it, so that nobody reaches it";
                self.specification.notes.push((self.location(method_key.place), note.to_owned()));
            } else if !PATH_KEYS.contains(&name) && !is_extension(method_key) {
                let message = format!("a path has no key `{}`", yaml::shown(name));
                let known = METHODS.iter().map(|(key, _)| *key).chain(PATH_KEYS);
                match nearest(name, known) {
                    Some(like) => {
                        self.problem_with_help(method_key.place, message, format!("did you mean `{like}`?"));
                    }
                    None => self.problem(method_key.place, message),
                }
            }
        }
    }

    fn routes(&mut self, method: &'static str, key: &Key, method_key: &Key, prefixes: &[String]) {
        for prefix in prefixes {
            let path = format!("{prefix}{}", key.text);
            let template = if key.text.starts_with('/') {
                Template::read(&path).map_err(|reason| (path.as_str(), reason))
            } else {
                Err((key.text.as_str(), "it does not start with `/`".to_owned()))
            };
            let template = match template {
                Ok(template) => template,
                Err((path, reason)) => {
                    let message = format!("no request can have the path `{}`: {reason}", yaml::shown(path));
                    // Once for all methods.
                    if self.problems.last().is_none_or(|last| last.message != message) {
                        self.problem(key.place, message);
                    }
                    continue;
                }
            };
            if self.specification.routes.len() >= OPENAPI_ROUTES_MAX {
                let message = format!("the document has more than {OPENAPI_ROUTES_MAX} routes");
                if self.problems.last().is_none_or(|last| last.message != message) {
                    self.problem(method_key.place, message);
                }
                return;
            }
            if let Some(segment) = template.partial {
                let segment = yaml::shown(&segment);
                let note = format!("in `{}`, `{segment}` is taken for a whole segment", yaml::shown(&path));
                let note = (self.location(key.place), note);
                if self.specification.notes.last() != Some(&note) {
                    self.specification.notes.push(note);
                }
            }
            let location = self.location(method_key.place);
            let path = yaml::shown(&path);
            self.specification.routes.push(SpecifiedRoute {
                method,
                path,
                pattern: template.pattern,
                location,
            });
        }
    }

    fn location(&self, place: Place) -> Location {
        Location::new(&self.file, place.line, place.column)
    }

    fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem::new(self.location(place), message));
    }

    fn problem_with_help(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(self.location(place), message).with_help(help));
    }
}

/// Whether documents of this version are read: `3.0.3`, and what is cut short to `3.0`.
fn is_read(version: &str) -> bool {
    ["3.0", "3.1"]
        .iter()
        .any(|known| version.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// JSON is YAML, but for tabs between its words, and for letters that it escapes in two halves.
fn json_as_yaml(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with('{') || !text.contains(['\t', '\\']) {
        return Cow::Borrowed(text);
    }
    let mut yaml = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        yaml.push_str(before);
        if let Some((letter, after)) = letter_in_halves(after) {
            // As YAML escapes it, which is nearly as long: places behind it on its line are off by two.
            let _ = write!(yaml, "\\U{:08X}", u32::from(letter));
            rest = after;
            continue;
        }
        // What is escaped starts no other escape.
        let mut letters = after.chars();
        yaml.push('\\');
        yaml.extend(letters.next());
        rest = letters.as_str();
    }
    yaml.push_str(rest);
    Cow::Owned(yaml.replace('\t', " "))
}

/// The letter of two escapes, of which the first lacks its backslash, such as `ud83d\ude00`; and what follows.
fn letter_in_halves(text: &str) -> Option<(char, &str)> {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let (first, after) = (unit(text.strip_prefix('u')?)?, text.get(5..)?);
    let after = after.strip_prefix("\\u")?;
    let mut letters = char::decode_utf16([first, unit(after)?]);
    match (letters.next(), letters.next()) {
        (Some(Ok(letter)), None) => Some((letter, after.get(4..)?)),
        _ => None,
    }
}

fn get<'n>(entries: &'n [(Key, Node)], key: &str) -> Option<&'n Node> {
    entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
}

fn is_extension(key: &Key) -> bool {
    key.text.starts_with("x-")
}

#[cfg(test)]
mod tests;

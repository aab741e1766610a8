//! The configuration file: contexts by name, one of them current. What the file holds beyond what is known
//! here, such as keys of newer programs, stays in it.

use super::failure::Failure;
use super::yaml::Node;
use serde_yaml::{Mapping, Value};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// How deep a file may be nested.
const DEPTH_MAX: usize = 32;
/// How many keys, values, lists and mappings a file may hold: memory goes by these rather than by bytes.
const VALUES_MAX: usize = 100_000;
/// The name of the context that a file of the old, flat format is.
const FLAT_NAME: &str = "default";
/// The indent of the file, as the original writes it.
const INDENT: usize = 4;

/// A configuration file that was read, or an empty one.
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// Whether there is a file.
    pub(crate) exists: bool,
    entries: Vec<Value>,
    /// The whole file, but for the entries of `contexts`, whose place it keeps.
    root: Mapping,
}

/// One context of the file. It may hold tokens, and so has no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Context {
    /// Where the server is.
    pub(crate) url: String,
    /// A personal token.
    pub(crate) api_token: String,
    /// A service token.
    pub(crate) service_token: String,
    /// The path of the API below the URL; empty for the usual one.
    pub(crate) api_path: String,
    /// Whether the server's certificate is not verified.
    pub(crate) skip_ssl: bool,
    /// Certificate authorities, as base64 of PEM.
    pub(crate) ca_cert_base64_data: String,
}

impl ConfigFile {
    /// Reads the file; one that does not exist is an empty one.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is no configuration file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let empty = Self { path: path.to_owned(), exists: false, entries: Vec::new(), root: Mapping::new() };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
            Err(error) => return Err(unusable(path, &error.to_string())),
        };
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too large from one that just fits.
        file.take(FILE_MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unusable(path, &error.to_string()))?;
        if bytes.len() as u64 > FILE_MAX_BYTES {
            return Err(unusable(path, "it is larger than 1 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unusable(path, "it is not UTF-8"))?;
        check_events(&text).map_err(|reason| unusable(path, &reason))?;
        let value: Value = serde_yaml::from_str(&text).map_err(|error| unusable(path, &place_of(&error)))?;
        if !keys_are_words(&value) {
            return Err(unusable(path, "a key in it is a list or a mapping"));
        }
        match value {
            Value::Null => Ok(Self { exists: true, ..empty }),
            Value::Mapping(root) => Self { exists: true, root, ..empty }.normalised(),
            _ => Err(unusable(path, "it holds no settings")),
        }
    }

    /// The name of the current context; empty when there is none.
    pub(crate) fn current(&self) -> String {
        text_of(&self.root, "current-context")
    }

    /// The contexts, in the order of the file.
    pub(crate) fn contexts(&self) -> Vec<(String, Context)> {
        self.entries.iter().filter_map(Value::as_mapping).map(named_context).collect()
    }

    /// The context with this name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn context(&self, name: &str) -> Result<Context, Failure> {
        let found = self.contexts().into_iter().find(|(other, _)| other == name);
        found.map(|(_, context)| context).ok_or_else(|| not_found(name))
    }

    /// Makes this context the current one.
    ///
    /// # Errors
    /// When there is no context with that name.
    pub(crate) fn set_current(&mut self, name: &str) -> Result<(), Failure> {
        self.context(name)?;
        self.root.insert("current-context".into(), name.into());
        Ok(())
    }

    /// Puts a context under `name`, in place of the one that has it, and makes it the current one.
    pub(crate) fn save(&mut self, name: &str, context: &Context) {
        let found =
            self.entries.iter_mut().filter_map(Value::as_mapping_mut).find(|it| text_of(it, "name") == name);
        match found {
            Some(entry) => {
                let mut settings = match entry.get("context") {
                    Some(Value::Mapping(settings)) => settings.clone(),
                    _ => Mapping::new(),
                };
                context.write_to(&mut settings);
                entry.insert("context".into(), settings.into());
            }
            None => {
                let mut settings = Mapping::new();
                context.write_to(&mut settings);
                let entry = [("name".into(), name.into()), ("context".into(), settings.into())];
                self.entries.push(Value::Mapping(Mapping::from_iter(entry)));
            }
        }
        self.root.insert("current-context".into(), name.into());
    }

    /// Removes a context.
    ///
    /// # Errors
    /// When there is no context with that name, or it is the current one.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Failure> {
        if name == self.current() {
            return Err(Failure::Arguments(format!("cannot delete the current context ({name})")));
        }
        self.context(name)?;
        self.entries.retain(|entry| entry.as_mapping().is_none_or(|it| text_of(it, "name") != name));
        Ok(())
    }

    /// Writes the file so that it is there as a whole or not at all, and readable by its owner alone.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let mut root = self.root.clone();
        // Contexts come first where the file had none.
        let current = root.remove("current-context");
        root.insert("contexts".into(), Value::Sequence(self.entries.clone()));
        if let Some(current) = current {
            root.insert("current-context".into(), current);
        }
        let text = node_of(&Value::Mapping(root)).to_yaml(INDENT);
        write_private(&self.path, text.as_bytes()).map_err(|error| Failure::WriteFile {
            path: self.path.display().to_string(),
            cause: error.to_string(),
        })
    }

    /// A file of the old format, which was one context without a name, in the form of today's.
    fn normalised(mut self) -> Result<Self, Failure> {
        let is_empty = self.root.is_empty();
        match self.root.get_mut("contexts") {
            Some(Value::Sequence(entries)) => self.entries = std::mem::take(entries),
            Some(Value::Null) => {}
            Some(_) => return Err(unusable(&self.path, "`contexts` is not a list")),
            None if is_empty => {}
            None => {
                let flat = std::mem::take(&mut self.root);
                let entry = [("name".into(), FLAT_NAME.into()), ("context".into(), flat.into())];
                self.entries = vec![Value::Mapping(Mapping::from_iter(entry))];
                self.root.insert("current-context".into(), FLAT_NAME.into());
            }
        }
        Ok(self)
    }
}

impl Context {
    /// The context as the original prints it, tokens included: whoever asks for it owns the file.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut entries = serde_json::Map::new();
        for (key, text, always) in self.texts() {
            if always || !text.is_empty() {
                entries.insert(key.to_owned(), text.as_str().into());
            }
        }
        entries.insert("skip-ssl".to_owned(), self.skip_ssl.into());
        entries.into()
    }

    const fn texts(&self) -> [(&'static str, &String, bool); 5] {
        [
            ("url", &self.url, true),
            ("api-token", &self.api_token, false),
            ("service-token", &self.service_token, false),
            ("api-path", &self.api_path, true),
            ("ca-cert-base64-data", &self.ca_cert_base64_data, false),
        ]
    }

    fn write_to(&self, settings: &mut Mapping) {
        for (key, text, always) in self.texts() {
            if always || !text.is_empty() {
                settings.insert(key.into(), text.as_str().into());
            } else {
                settings.remove(key);
            }
        }
        settings.insert("skip-ssl".into(), self.skip_ssl.into());
    }
}

fn not_found(name: &str) -> Failure {
    Failure::NotFound(format!("context with name '{name}' not found"))
}

fn named_context(entry: &Mapping) -> (String, Context) {
    let nothing = Mapping::new();
    let settings = entry.get("context").and_then(Value::as_mapping).unwrap_or(&nothing);
    let context = Context {
        url: text_of(settings, "url"),
        api_token: text_of(settings, "api-token"),
        service_token: text_of(settings, "service-token"),
        api_path: text_of(settings, "api-path"),
        skip_ssl: settings.get("skip-ssl").and_then(Value::as_bool).unwrap_or_default(),
        ca_cert_base64_data: text_of(settings, "ca-cert-base64-data"),
    };
    (text_of(entry, "name"), context)
}

/// A text, or what was meant as one and looks like a number; empty when it is not there.
fn text_of(mapping: &Mapping, key: &str) -> String {
    match mapping.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        _ => String::new(),
    }
}

/// Whether every key fits on a line. Others are legal YAML, but nobody's settings, and would not be
/// written back as they were.
fn keys_are_words(value: &Value) -> bool {
    match value {
        Value::Sequence(items) => items.iter().all(keys_are_words),
        Value::Mapping(entries) => entries.iter().all(|(key, value)| {
            let is_word = matches!(key, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_));
            is_word && keys_are_words(value)
        }),
        Value::Tagged(tagged) => keys_are_words(&tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn node_of(value: &Value) -> Node {
    match value {
        Value::Null => Node::Bare("null".to_owned()),
        Value::Bool(truth) => Node::Bare(truth.to_string()),
        Value::Number(number) => Node::Bare(number.to_string()),
        Value::String(text) => Node::Text(text.clone()),
        Value::Sequence(items) => Node::List(items.iter().map(node_of).collect()),
        Value::Mapping(entries) => {
            Node::Map(entries.iter().map(|(key, value)| (node_of(key), node_of(value))).collect())
        }
        Value::Tagged(tagged) => node_of(&tagged.value),
    }
}

/// Refuses what a small file can use to cost much: aliases, which multiply what they stand for, depth, and number.
fn check_events(text: &str) -> Result<(), String> {
    use saphyr_parser::Event;
    let (mut depth, mut values): (usize, usize) = (0, 0);
    for event in saphyr_parser::Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| format!("it is not YAML: line {}", error.marker().line()))?;
        match event {
            Event::Alias(_) => return Err(format!("line {}: aliases are not read", span.start.line())),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                depth += 1;
                values += 1;
            }
            Event::Scalar(..) => values += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if values > VALUES_MAX {
            return Err(format!("it holds more than {VALUES_MAX} values"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("line {}: it is nested more than {DEPTH_MAX} deep", span.start.line()));
        }
    }
    Ok(())
}

/// Where the file is wrong. The parser's own words could quote a token.
fn place_of(error: &serde_yaml::Error) -> String {
    match error.location() {
        Some(place) => format!("it is not YAML: line {}, column {}", place.line(), place.column()),
        None => "it is not YAML".to_owned(),
    }
}

fn unusable(path: &Path, reason: &str) -> Failure {
    Failure::Settings(format!("could not read the configuration file `{}`: {reason}", path.display()))
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link, as dotfile managers make them, stays a link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    create_folder(folder)?;
    let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy().into_owned();
    let draft = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = create_private(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, &target));
    if written.is_err() {
        // The draft is of no use; that it may stay behind is the lesser trouble.
        drop(fs::remove_file(&draft));
    }
    written
}

#[cfg(unix)]
fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        // A draft that a killed process of the same number left behind.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_file_makes_it_panic_and_what_is_read_is_written(words in prop::collection::vec(
            prop_oneof![
                "(contexts|name|context|url|current-context|a): ?",
                "[-?:,\\[\\]{}#&*!|>'\"%@` \n\t~.0-9a-c]{0,4}",
                "(\n|\n  |\n    |- |\n- |---\n|\\.\\.\\.\n|!!str |&x |\\*x)",
            ],
            0..24,
        )) {
            let folder = tempfile::tempdir().map_err(|error| TestCaseError::fail(error.to_string()))?;
            let path = folder.path().join("config.yaml");
            fs::write(&path, words.concat()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            if let Ok(mut file) = ConfigFile::read(&path) {
                let before: Vec<String> = file.contexts().into_iter().map(|(name, _)| name).collect();
                file.save("new", &Context::default());
                file.write().map_err(|failure| TestCaseError::fail(failure.to_string()))?;
                let after = ConfigFile::read(&path).map_err(|failure| {
                    TestCaseError::fail(format!("{failure}: {:?}", fs::read(&path).map(String::from_utf8)))
                })?;
                let names: Vec<String> = after.contexts().into_iter().map(|(name, _)| name).collect();
                prop_assert!(names.starts_with(&before) && names.contains(&"new".to_owned()));
                prop_assert_eq!(after.current(), "new");
            }
        }
    }
}

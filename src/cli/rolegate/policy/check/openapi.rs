//! `policy check --openapi`: the policies against the routes of an OpenAPI document.

use super::super::super::console::Console;
use super::super::super::policies::{LoadError, Named, counted};
use super::super::Failure;
use super::{Level, Levels};
use crate::policy::Location;
use crate::policy::openapi::{self, OPENAPI_MAX_BYTES};
use crate::policy::warn::{Comparison, Examined, Mismatch, Specification, WarningCode};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The kinds of mismatches: code, heading, and the key in JSON.
const KINDS: [(WarningCode, &str, &str); 3] = [
    (WarningCode::UnreachedRoute, "routes that no role reaches", "unreached_routes"),
    (WarningCode::OpenRoute, "routes that are open to everyone", "open_routes"),
    (WarningCode::UnmatchedRule, "rules that match no route", "unmatched_rules"),
];

#[derive(Debug, Args)]
pub(super) struct OpenApiArguments {
    /// Compare with the routes of this OpenAPI document, 3.0 or 3.1 as YAML or JSON: tells which no role reaches,
    /// which are open to everyone, and which rules match none
    #[arg(long = "openapi", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The path that starts every route, in place of those of the document's servers; may be empty
    #[arg(long = "openapi-prefix", value_name = "PATH", requires = "file", value_parser = prefix)]
    prefix: Option<String>,
}

/// A document and what there is to say about it.
pub(super) struct Compared {
    specification: Specification,
    pub(super) comparison: Comparison,
}

impl OpenApiArguments {
    /// Reads the document, when there is one, and compares.
    pub(super) fn compare(&self, examined: &Examined) -> Result<Option<Compared>, Failure> {
        let Some(file) = &self.file else { return Ok(None) };
        let bytes = Named::by_flag(file, "--openapi").bytes_of(file, OPENAPI_MAX_BYTES)?;
        let specification = openapi::read(&file.to_string_lossy(), &bytes, self.prefix.as_deref());
        let specification = specification.map_err(LoadError::from)?;
        let comparison = examined.compare(&specification);
        Ok(Some(Compared { specification, comparison }))
    }
}

impl Compared {
    pub(super) fn is_denied(&self, levels: &Levels) -> bool {
        self.comparison.mismatches.iter().any(|mismatch| levels.of(mismatch.code) == Level::Denied)
    }

    pub(super) fn tell(&self, levels: &Levels, console: &mut Console<'_>) {
        let Specification { file, routes, notes, prefixes, .. } = &self.specification;
        let prefixes: Vec<&str> =
            prefixes.iter().map(String::as_str).filter(|prefix| !prefix.is_empty()).collect();
        let below =
            if prefixes.is_empty() { String::new() } else { format!(" below {}", prefixes.join(", ")) };
        console.line(format_args!("\n{file}: {}{below}", counted(routes.len(), "route")));
        for (place, note) in notes {
            console.line(format_args!("note: {note} ({place})"));
        }
        for (code, heading, _) in KINDS {
            let level = levels.of(code);
            if level == Level::Allowed {
                continue;
            }
            let found: Vec<&Mismatch> = self.of(code).collect();
            let label = if level == Level::Denied && !found.is_empty() { "error" } else { "warning" };
            match found.len() {
                0 => console.line(format_args!("\n{heading}: none")),
                count => console.line(format_args!("\n{label}[{code}]: {heading}: {count}")),
            }
            let width = found.iter().map(|mismatch| mismatch.what.chars().count()).max().unwrap_or(0).min(60);
            for mismatch in found {
                let Mismatch { what, location, .. } = mismatch;
                console.line(format_args!("  {what:width$}  {location}  {}", why(mismatch)));
            }
        }
    }

    pub(super) fn json(&self, levels: &Levels) -> Value {
        let Specification { file, routes, notes, prefixes, .. } = &self.specification;
        let note = |(place, message): &(Location, String)| with_place(place, &[("message", json!(message))]);
        let mut answer = json!({
            "file": &**file,
            "prefixes": prefixes,
            "routes": routes.len(),
            "notes": notes.iter().map(note).collect::<Vec<_>>(),
        });
        for (code, _, key) in KINDS.into_iter().filter(|(code, ..)| levels.of(*code) != Level::Allowed) {
            let is_denied = levels.of(code) == Level::Denied;
            let found = self.of(code).map(|mismatch| {
                let rules: Vec<Value> = mismatch.rules.iter().map(|rule| with_place(rule, &[])).collect();
                with_place(
                    &mismatch.location,
                    &[
                        ("code", json!(code.name())),
                        ("denied", json!(is_denied)),
                        (
                            if code == WarningCode::UnmatchedRule { "rule" } else { "route" },
                            json!(mismatch.what),
                        ),
                        ("message", json!(mismatch.why)),
                        ("rules", json!(rules)),
                    ],
                )
            });
            let found = Value::from_iter(found);
            if let Some(fields) = answer.as_object_mut() {
                fields.insert(key.to_owned(), found);
            }
        }
        answer
    }

    fn of(&self, code: WarningCode) -> impl Iterator<Item = &Mismatch> {
        self.comparison.mismatches.iter().filter(move |mismatch| mismatch.code == code)
    }
}

fn why(mismatch: &Mismatch) -> String {
    let rules: Vec<String> = mismatch.rules.iter().map(ToString::to_string).collect();
    if rules.is_empty() { mismatch.why.clone() } else { format!("{}: {}", mismatch.why, rules.join(", ")) }
}

fn with_place(place: &Location, more: &[(&str, Value)]) -> Value {
    let mut fields = json!({ "file": &*place.file, "line": place.line, "column": place.column });
    if let Some(fields) = fields.as_object_mut() {
        fields.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
    fields
}

fn prefix(text: &str) -> Result<String, String> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err("a prefix starts with `/`".to_owned());
    }
    if text.contains(['{', '}', '*', '?', '#']) {
        return Err("a prefix is a path without parameters, query and fragment".to_owned());
    }
    Ok(text.to_owned())
}

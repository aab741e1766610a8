//! `config show`: every value and where it comes from, as YAML that people read or as JSON.

use crate::config::{Config, Origin, Setting, SettingValue};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What stands in the place of a secret. It is too short to be one.
const HIDDEN: &str = "(hidden)";

/// The values as a YAML document, each with its origin in a comment.
pub(super) fn yaml(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut open: Vec<&str> = Vec::new();
    for setting in settings {
        let keys = setting.keys();
        let Some((name, blocks)) = keys.split_last() else { continue };
        let shared = blocks.iter().zip(&open).take_while(|(new, old)| new == old).count();
        let mut dash = false;
        for (depth, block) in blocks.iter().enumerate().skip(shared) {
            let (list, item) = block.split_once('[').map_or((*block, false), |(list, _)| (list, true));
            let is_new = open.get(depth).is_none_or(|old| !item || !old.starts_with(&format!("{list}[")));
            if is_new {
                let _ = writeln!(text, "{}{}:", indent(&keys, depth), scalar(list));
            }
            dash = item;
        }
        let mut start = indent(&keys, blocks.len());
        if dash {
            start.replace_range(start.len() - 2.., "- ");
        }
        let _ = writeln!(text, "{start}{}: {}  # {}", scalar(name), value(&setting.value), setting.origin);
        open = blocks.to_vec();
    }
    text
}

/// The values as JSON: a list of keys with value and origin.
pub(super) fn json(settings: &[Setting]) -> String {
    let items = settings.iter().map(|setting| {
        let value = match &setting.value {
            SettingValue::Text(text) => Value::from(text.as_str()),
            SettingValue::Number(text) => text.parse().map_or(Value::Null, |number: u64| Value::from(number)),
            SettingValue::Switch(on) => Value::from(*on),
            SettingValue::List(items) => Value::from(items.as_slice()),
            SettingValue::Hidden => Value::Null,
        };
        let hidden = setting.value == SettingValue::Hidden;
        json!({ "key": setting.path, "value": value, "hidden": hidden, "from": setting.origin.to_string() })
    });
    format!("{:#}\n", Value::from_iter(items))
}

/// Two spaces for each block, and two more below each item of a list.
fn indent(keys: &[&str], depth: usize) -> String {
    let items = keys.iter().take(depth).filter(|key| key.contains('[')).count();
    "  ".repeat(depth + items)
}

fn value(value: &SettingValue) -> String {
    match value {
        SettingValue::Text(text) => scalar(text),
        SettingValue::Number(text) => text.clone(),
        SettingValue::Switch(on) => on.to_string(),
        SettingValue::List(items) => {
            let items: Vec<String> = items.iter().map(|item| scalar(item)).collect();
            format!("[{}]", items.join(", "))
        }
        SettingValue::Hidden => scalar(HIDDEN),
    }
}

/// Text as YAML: plain where no reader could take it for something else, and in quotes as JSON writes it.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let bytes = text.as_bytes();
    let of = |allowed: &[u8]| bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || allowed.contains(byte));
    let is_plain = match bytes {
        [first, .., last] if first.is_ascii_alphabetic() => of(b"-_./:") && last.is_ascii_alphanumeric(),
        // `5s` and `16 KiB` are no numbers; `0x1d` and `1e5` are.
        [first, .., last] if (b'1'..=b'9').contains(first) => of(b" ") && last.is_ascii_alphabetic(),
        [only] => only.is_ascii_alphabetic(),
        _ => false,
    };
    if is_plain && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// What `config check` found, as JSON: warnings when all is in order, and otherwise the errors.
pub(super) fn verdict(checked: Result<&Config, Vec<Value>>) -> String {
    let (valid, errors, warnings) = match checked {
        Ok(config) => {
            let warnings = config.warnings.iter();
            let told = warnings.map(|warning| told(Some(&warning.at), &warning.notice.to_string()));
            (true, Vec::new(), told.collect())
        }
        Err(errors) => (false, errors, Vec::new()),
    };
    format!("{:#}\n", json!({ "valid": valid, "errors": errors, "warnings": Value::Array(warnings) }))
}

/// A message and its place, as JSON.
pub(super) fn told(at: Option<&Origin>, message: &str) -> Value {
    match at {
        Some(Origin::File(place)) if place.line == 0 => {
            json!({ "file": place.file.to_string_lossy(), "message": message })
        }
        Some(Origin::File(place)) => json!({
            "file": place.file.to_string_lossy(),
            "line": place.line,
            "column": place.column,
            "message": message,
        }),
        Some(elsewhere) => json!({ "from": elsewhere.to_string(), "message": message }),
        None => json!({ "message": message }),
    }
}

//! Prints results and errors: text with the original's symbols, or JSON.

use super::failure::{Failure, ServerBody};
use super::surroundings::Surroundings;
use super::table::{Table, visible};
use super::yaml::Node;
use crate::token::candidates::redacted;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

const TOKEN_COLOUR: &str = "\u{1b}[37m";
const COLOUR_END: &str = "\u{1b}[0m";
/// How much of a server's text is repeated in an error.
const BODY_SHOWN_MAX_CHARS: usize = 4096;

/// How things are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// `✅` instead of `[SUCCESS]`.
    pub(crate) symbols: bool,
    /// Colour codes.
    pub(crate) colours: bool,
    /// The columns that a table may take; `None` for any.
    pub(crate) columns: Option<usize>,
}

/// Where a program prints to.
pub(crate) struct Printer<'a> {
    /// How.
    pub(crate) style: Style,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    out_error: Option<io::Error>,
}

impl Style {
    /// The style of errors about flags: they are found before anything is known of the style.
    pub(crate) const EARLY: Self = Self { json: false, symbols: true, colours: false, columns: None };

    /// Whether to print JSON, symbols and colours. Symbols stay when the output is piped, as the original
    /// keeps them; colour codes are for terminals alone.
    pub(crate) fn choose(json: bool, no_color: bool, surroundings: &Surroundings) -> Self {
        let dumb = surroundings.text("TERM").is_some_and(|term| term.eq_ignore_ascii_case("dumb"));
        let symbols = !json && !no_color && !dumb && !surroundings.has("NO_COLOR");
        let columns = surroundings.stdout_columns;
        Self { json, symbols, colours: symbols && columns.is_some(), columns }
    }
}

impl<'a> Printer<'a> {
    /// A printer in `style`.
    pub(crate) fn new(style: Style, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { style, out, err, out_error: None }
    }

    /// Text as it is.
    pub(crate) fn text(&mut self, text: &str) {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        match written {
            // Whoever read the output has seen enough of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                self.out_error.get_or_insert(error);
            }
            Ok(()) => {}
        }
    }

    /// A line that tells of success.
    pub(crate) fn success(&mut self, message: &str) {
        let symbol = if self.style.symbols { "✅" } else { "[SUCCESS]" };
        self.text(&format!("{symbol} {}\n", capitalised(message)));
    }

    /// A secret, made to stand out on a terminal.
    pub(crate) fn highlighted(&self, secret: &str) -> String {
        if self.style.colours { format!("{TOKEN_COLOUR}{secret}{COLOUR_END}") } else { secret.to_owned() }
    }

    /// A table, or a sentence when it has no rows.
    pub(crate) fn table(&mut self, table: &Table, when_empty: &str) {
        if table.rows.is_empty() {
            self.text(&format!("{when_empty}\n"));
        } else {
            self.text(&table.render(self.style.columns, self.style.colours));
        }
    }

    /// A JSON value.
    pub(crate) fn json(&mut self, value: &Value) {
        self.text(&pretty_json(value));
    }

    /// A remark on standard error.
    pub(crate) fn remark(&mut self, line: &str) {
        // There is nowhere left to say that standard error cannot be written.
        drop(writeln!(self.err, "{line}"));
    }

    /// A word on standard error, without a line end.
    pub(crate) fn bare_remark(&mut self, word: &str) {
        drop(write!(self.err, "{word}"));
    }

    /// An error on standard error.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let text = if self.style.json { failure_json(failure) } else { self.failure_text(failure) };
        // A token is easily pasted in the place of something else, and errors land in logs.
        let text = redacted(&text);
        drop(self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush()));
    }

    /// The first error that writing to standard output met, as a failure.
    pub(crate) fn output_failure(&mut self) -> Option<Failure> {
        let cause = self.out_error.take()?.to_string();
        Some(Failure::WriteFile { path: "standard output".to_owned(), cause })
    }

    fn failure_text(&self, failure: &Failure) -> String {
        let symbol = if self.style.symbols { "❌" } else { "[ERROR]" };
        let message = failure.to_string();
        let mut text = format!("{symbol} {}\n", capitalised(&visible_lines(&message)));
        if !failure.text_has_body() {
            match failure.body() {
                Some(ServerBody::Json(value)) => text.push_str(&Node::from_json(value).to_yaml(2)),
                Some(ServerBody::Text(body)) => {
                    text.push_str(&format!("{}\n", visible_lines(&shortened(body))));
                }
                None => {}
            }
        }
        text
    }
}

/// JSON as the original writes it: two spaces a level, keys in alphabetical order, and escapes for what
/// HTML or a terminal would read.
pub(crate) fn pretty_json(value: &Value) -> String {
    escaped(serde_json::to_string_pretty(&sorted(value)).unwrap_or_default())
}

/// The same on one line, as it goes to the server.
pub(crate) fn compact_json(value: &Value) -> String {
    escaped(serde_json::to_string(&sorted(value)).unwrap_or_default())
}

/// At most the first 4,096 characters of a server's text.
pub(crate) fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(BODY_SHOWN_MAX_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => {
            let (shown, rest) = text.split_at(end);
            format!("{shown}… ({} more bytes)", rest.len())
        }
    }
}

/// These characters occur inside texts alone, where JSON allows the escape.
fn escaped(json: String) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// Whether a JSON library keeps keys in order is a matter of its features, which any crate can switch on.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(Map::from_iter(entries))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn failure_json(failure: &Failure) -> String {
    let mut entries = json!({ "error": true, "error-message": failure.to_string() });
    if let Some(entries) = entries.as_object_mut() {
        match failure.body() {
            Some(ServerBody::Json(value)) => {
                entries.insert("error-body".to_owned(), value.clone());
            }
            Some(ServerBody::Text(text)) => {
                entries.insert("error-body".to_owned(), Value::String(shortened(text)));
            }
            None => {}
        }
    }
    pretty_json(&entries)
}

fn capitalised(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Line ends stay, since errors have several lines; nothing else reaches a terminal unseen.
fn visible_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| visible(line.trim_end_matches('\r'))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With JSON where `no_color` is `None`.
    fn style(no_color: Option<bool>, vars: &[(&str, &str)], columns: Option<usize>) -> Style {
        let mut surroundings = Surroundings::of_vars(vars);
        surroundings.stdout_columns = columns;
        Style::choose(no_color.is_none(), no_color == Some(true), &surroundings)
    }

    #[test]
    fn a_pipe_has_symbols_and_no_colours() {
        let piped = style(Some(false), &[], None);
        assert!(piped.symbols && !piped.colours && piped.columns.is_none());
        let terminal = style(Some(false), &[("TERM", "xterm")], Some(80));
        assert!(terminal.symbols && terminal.colours && terminal.columns == Some(80));
    }

    #[test]
    fn every_switch_takes_symbols_and_colours_away() {
        let dark = [
            style(Some(true), &[], Some(80)),
            style(Some(false), &[("NO_COLOR", "")], Some(80)),
            style(Some(false), &[("NO_COLOR", "false")], Some(80)),
            style(Some(false), &[("TERM", "DuMb")], Some(80)),
            style(None, &[], Some(80)),
        ];
        assert!(dark.iter().all(|style| !style.symbols && !style.colours));
    }

    #[test]
    fn json_is_sorted_and_safe_in_html() {
        let value = json!({"b": "<a&b>\u{2028}\u{9b}", "a": [1, {}], "c": []});
        insta::assert_snapshot!(pretty_json(&value), @r#"
        {
          "a": [
            1,
            {}
          ],
          "b": "\u003ca\u0026b\u003e\u2028\u009b",
          "c": []
        }
        "#);
        assert_eq!(compact_json(&json!({"b": 1, "a": "&"})), "{\"a\":\"\\u0026\",\"b\":1}\n");
    }

    #[test]
    fn a_long_text_is_shortened_and_a_short_one_is_not() {
        assert_eq!(shortened(&"é".repeat(4096)), "é".repeat(4096));
        assert_eq!(shortened(&"é".repeat(4097)), format!("{}… (2 more bytes)", "é".repeat(4096)));
    }

    #[test]
    fn output_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_not() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, fails) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::BrokenPipe, false)] {
            let (mut out, mut err) = (Broken(kind), Vec::new());
            let mut printer = Printer::new(Style::EARLY, &mut out, &mut err);
            printer.success("done");
            assert_eq!(printer.output_failure().map(|failure| failure.exit_code()), fails.then_some(6));
        }
    }
}

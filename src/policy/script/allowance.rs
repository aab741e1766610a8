//! Comments that allow warnings: `// rolegate: allow(covered-rule)` before a statement or a line of a list, or at
//! the end of a line; `// rolegate: allow-in-file(unheld-role)` for all of a file.

use super::source::{SourceText, Word, statement};
use crate::policy::error::{Location, nearest};
use crate::policy::warn::{Warning, WarningCode};
use rhai::Token;
use std::sync::Arc;

/// How such a comment starts.
const MARK: &str = "// rolegate:";
const LINE_WORD: &str = "allow";
const FILE_WORD: &str = "allow-in-file";
/// The word of comments that say what policies open. They stand on lines of their own, and are read elsewhere.
const OPENING_WORD: &str = "opens";
/// The methods of a role that start something new.
const STARTS: [&str; 3] = ["allow", "grants", "includes"];

/// What a comment allows, and where.
pub(crate) struct Allowance {
    pub(crate) code: WarningCode,
    /// The place of the code in the comment.
    pub(crate) location: Location,
    pub(crate) length: u32,
    pub(crate) is_used: bool,
    /// Line and column of what it is about; both are part of it.
    from: (u32, u32),
    to: (u32, u32),
}

/// What a comment says.
struct Said<'c> {
    /// The codes, each with its column.
    codes: Vec<(&'c str, u32)>,
    is_for_file: bool,
}

impl Allowance {
    /// Whether it allows warnings of this kind at this place.
    pub(crate) fn covers(&self, code: WarningCode, location: &Location) -> bool {
        let place = (location.line, location.column);
        self.code == code
            && (self.from..=self.to).contains(&place)
            && (Arc::ptr_eq(&self.location.file, &location.file) || self.location.file == location.file)
    }
}

/// The comments of a script that allow warnings, at most `most` of them, and what is wrong with them.
pub(crate) fn read_allowances(source: &SourceText, most: usize) -> (Vec<Allowance>, Vec<Warning>) {
    let (mut allowances, mut wrong) = (Vec::new(), Vec::new());
    for line_comment in source.comments_with(MARK) {
        let Some((before, comment)) = line_comment.text.split_once(MARK) else { continue };
        let number = line_comment.line;
        let own = words_of_line(source, number);
        let is_opening = comment.split_whitespace().next() == Some(OPENING_WORD);
        if is_opening && line_comment.is_alone && before.is_empty() {
            continue;
        }
        let start = line_comment.column + columns(before);
        let place = |at: u32| Location::new(&source.name, number, at);
        let Some(Said { codes, is_for_file }) = read_comment(comment, start + columns(MARK)) else {
            let (message, help) = if is_opening {
                let message = format!("`{MARK} {OPENING_WORD}` says something at the start of a line alone");
                (message, "put it on a line of its own".to_owned())
            } else {
                let message = format!("a comment that starts with `{MARK}` is written otherwise");
                (message, format!("write `{MARK} {LINE_WORD}(code)` or `{MARK} {FILE_WORD}(code)`"))
            };
            wrong.push(Warning::new(WarningCode::IdleAllow, &place(start), message).with_help(help));
            continue;
        };
        let (from, to) =
            if is_for_file { ((0, 0), (u32::MAX, u32::MAX)) } else { range(source, own, number) };
        for (name, at) in codes {
            let length = columns(name);
            match WarningCode::parse(name) {
                Some(_) if allowances.len() >= most => {
                    let message =
                        "there are too many comments that allow warnings; this one is not looked at";
                    wrong.push(Warning::new(WarningCode::UnfinishedCheck, &place(at), message));
                    return (allowances, wrong);
                }
                Some(code) => {
                    allowances.push(Allowance {
                        code,
                        location: place(at),
                        length,
                        is_used: false,
                        from,
                        to,
                    });
                }
                None => wrong.push(unknown_code(name, &place(at), length)),
            }
        }
    }
    (allowances, wrong)
}

fn read_comment(comment: &str, column: u32) -> Option<Said<'_>> {
    let (word, rest) = comment.split_once('(')?;
    let is_for_file = match word.trim() {
        LINE_WORD => false,
        FILE_WORD => true,
        _ => return None,
    };
    let (list, _reason) = rest.split_once(')')?;
    let mut start = column + columns(word) + 1;
    let mut codes = Vec::new();
    for part in list.split(',') {
        let indent = columns(part) - columns(part.trim_start());
        codes.push((part.trim(), start + indent));
        start += columns(part) + 1;
    }
    Some(Said { codes, is_for_file })
}

/// What a comment is about: its line, when there is something on it, and otherwise what follows.
fn range(source: &SourceText, own: &[Word], line: u32) -> ((u32, u32), (u32, u32)) {
    if !own.is_empty() {
        return ((line, 0), (line, u32::MAX));
    }
    let start = source.words.partition_point(|word| word.line <= line);
    let following = source.words.get(start..).unwrap_or_default();
    let Some(first) = following.first() else { return ((u32::MAX, 0), (0, 0)) };
    let is_in_chain = first.token == Token::Period;
    let mut last = (first.line, first.column);
    let mut depth = 0_usize;
    let mut previous: Option<&Word> = None;
    for (at, word) in statement(following).enumerate() {
        let starts_anew = depth == 0
            && at > 1
            && previous.is_some_and(|previous| previous.token == Token::Period)
            && word.name().is_some_and(|name| STARTS.contains(&name));
        if is_in_chain && starts_anew {
            break;
        }
        depth =
            if word.is_opening() { depth + 1 } else { depth.saturating_sub(usize::from(word.is_closing())) };
        last = (word.line, word.column);
        previous = Some(word);
    }
    ((first.line, first.column), last)
}

fn words_of_line(source: &SourceText, line: u32) -> &[Word] {
    let start = source.words.partition_point(|word| word.line < line);
    let end = source.words.partition_point(|word| word.line <= line);
    source.words.get(start..end).unwrap_or_default()
}

fn unknown_code(name: &str, location: &Location, length: u32) -> Warning {
    let mut warning = Warning::new(WarningCode::IdleAllow, location, format!("no warning is named `{name}`"));
    warning.problem.length = length;
    match nearest(name, WarningCode::all().map(WarningCode::name)) {
        Some(code) => warning.with_help(format!("did you mean `{code}`?")),
        None => warning.with_help("the names stand in brackets after `warning`, such as `covered-rule`"),
    }
}

fn columns(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

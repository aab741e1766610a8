//! What a search found, in words and as JSON. Whatever comes from files is shown without tokens and without
//! anything that steers a terminal.

use super::super::super::console::{Console, Mood};
use super::collect::{Collection, Finding, Found, Totals};
use super::walk::STANDARD_INPUT;
use crate::token::candidates::{Encoding, Finder};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// What stands in the place of a token.
const REDACTED: &str = "svctok-…";

pub(super) fn print(collection: &Collection, console: &mut Console<'_>) {
    for finding in &collection.findings {
        let (label, token) = match &finding.state {
            Found::NotLookedUp(digest) => {
                let word = console.painted(Mood::Bad, "not looked up");
                (word, format!("token {REDACTED}, fingerprint {}", digest.fingerprint()))
            }
            Found::NoToken => ("none".to_owned(), "the checksum is wrong".to_owned()),
        };
        let encoding = match finding.encoding {
            Encoding::Plain => "",
            Encoding::Utf16 => ", in UTF-16",
            Encoding::Base64 => ", in base64",
        };
        console.line(format_args!("{}: {label}: {token}{encoding}", place(finding)));
    }
    let totals = &collection.totals;
    if totals.untold > 0 {
        console.line(format_args!("and {}", counted(totals.untold, "further finding", "further findings")));
    }
    console.line(summary(totals));
    for remark in remarks(totals, collection.tells_all) {
        console.remark(format_args!("note: {remark}"));
    }
}

fn place(finding: &Finding) -> String {
    let path = match finding.subject.path.to_str() {
        Some(STANDARD_INPUT) => "<stdin>".to_owned(),
        _ => shown(&finding.subject.path),
    };
    match finding.place {
        Some(place) => format!("{path}:{}:{}", place.line, place.column),
        None => format!("{path} (its name)"),
    }
}

fn summary(totals: &Totals) -> String {
    let read = format!("{}, {}", counted(totals.files, "file", "files"), size(totals.bytes));
    let found = match totals.not_looked_up {
        0 => "no token was found".to_owned(),
        count => format!("{} found, and not looked up", counted(count, "token", "tokens")),
    };
    format!("{read}: {found}")
}

/// What the search did not see.
fn remarks(totals: &Totals, tells_all: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut tell = |count: u64, text: String| {
        if count > 0 {
            remarks.push(text);
        }
    };
    let Totals { unread, links, special, compressed, repositories, wrong_checksums, .. } = *totals;
    tell(unread, format!("{} could not be read", counted(unread, "file or folder", "files or folders")));
    tell(links, format!("{} not followed", counted(links, "link is", "links are")));
    tell(special, format!("{} passed over", counted(special, "pipe or device is", "pipes and devices are")));
    let files = counted(compressed, "file is", "files are");
    tell(compressed, format!("{files} compressed, and what they hold was not seen"));
    let history =
        "the history of a repository is compressed: `git log -p --all | rolegate token scan -` reads it";
    tell(repositories, history.to_owned());
    let texts = counted(
        wrong_checksums,
        "text looks like a token and is none",
        "texts look like tokens and are none",
    );
    let untold = if tells_all { 0 } else { wrong_checksums };
    tell(untold, format!("{texts}, since the checksum is wrong; `--all` tells where"));
    remarks
}

pub(super) fn json(collection: &Collection) -> Value {
    let Totals { files, bytes, unread, links, special, compressed, .. } = collection.totals;
    let Totals { not_looked_up, wrong_checksums, untold, .. } = collection.totals;
    json!({
        "findings": collection.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "summary": {
            "files": files,
            "bytes": bytes,
            "unread": unread,
            "links": links,
            "special": special,
            "compressed": compressed,
            "not_looked_up": not_looked_up,
            "wrong_checksum": wrong_checksums,
            "untold": untold,
        },
    })
}

fn finding_json(finding: &Finding) -> Value {
    let (state, digest) = match &finding.state {
        Found::NotLookedUp(digest) => ("not-looked-up", Some(digest)),
        Found::NoToken => ("wrong-checksum", None),
    };
    json!({
        "path": shown(&finding.subject.path),
        "line": finding.place.map(|place| place.line),
        "column": finding.place.map(|place| place.column),
        "offset": finding.place.map(|place| place.offset),
        "encoding": match finding.encoding {
            Encoding::Plain => "plain",
            Encoding::Utf16 => "utf-16",
            Encoding::Base64 => "base64",
        },
        "state": state,
        "fingerprint": digest.map(|digest| digest.fingerprint()),
    })
}

/// How fast it was.
pub(super) fn speed(totals: &Totals, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let a_second = |count: u64| count.saturating_mul(1000) / millis;
    let (bytes, files) = (size(a_second(totals.bytes)), a_second(totals.files));
    format!("took {}.{} s: {bytes} and {files} files a second", millis / 1000, millis / 100 % 10)
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut tenths = (bytes, "bytes");
    if bytes < 1024 {
        return counted(bytes, "byte", "bytes");
    }
    for unit in UNITS {
        tenths = (tenths.0.saturating_mul(if unit == "KiB" { 10 } else { 1 }) / 1024, unit);
        if tenths.0 < 10_240 {
            break;
        }
    }
    format!("{}.{} {}", tenths.0 / 10, tenths.0 % 10, tenths.1)
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A path as it may be shown: a file can be called anything.
pub(super) fn shown(path: &Path) -> String {
    safe(&path.to_string_lossy())
}

/// A text without the tokens that it holds, and without what steers a terminal.
pub(super) fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = Finder::new().find(rest.as_bytes(), rest.len()).first() {
        let end = found.at + found.length;
        let (Some(before), Some(after)) = (rest.get(..found.at), rest.get(end..)) else { break };
        shown.push_str(before);
        shown.push_str(REDACTED);
        rest = after;
    }
    shown.push_str(rest);
    let is_plain = |letter: char| matches!(letter, '"' | '\'' | '\\') || letter.escape_debug().len() == 1;
    let escape = |letter: char| match is_plain(letter) {
        true => letter.to_string(),
        false => letter.escape_debug().to_string(),
    };
    shown.chars().map(escape).collect()
}

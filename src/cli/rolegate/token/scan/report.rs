//! What a search found, in words and as JSON. Whatever comes from files is shown without tokens and without
//! anything that steers a terminal.

use super::super::super::console::{Console, Mood};
use super::collect::{Collection, Finding, Found, Totals};
use super::walk::STANDARD_INPUT;
use crate::token::SecretState;
use crate::token::candidates::{Encoding, REDACTED, redacted};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

pub(super) fn print(collection: &Collection, console: &mut Console<'_>) {
    for finding in &collection.findings {
        let state = state(&finding.state);
        let state =
            if finding.state.is_live() { console.painted(Mood::Bad, state) } else { state.to_owned() };
        let encoding = match finding.encoding {
            Encoding::Plain => "",
            Encoding::Utf16 => ", in UTF-16",
            Encoding::Base64 => ", in base64",
        };
        console.line(format_args!("{}: {state}: {}{encoding}", place(finding), token(finding)));
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

/// The state in words.
fn state(found: &Found) -> &'static str {
    match found {
        Found::NoToken => "none",
        Found::NotLookedUp(_) => "not looked up",
        Found::Unknown(_) => "not known here",
        Found::Known(_, known) => match known.state {
            SecretState::Live { .. } | SecretState::InGrace { .. } => "live",
            SecretState::Disabled { .. } => "disabled",
            SecretState::Expired { .. } => "expired",
            SecretState::Former { .. } => "former secret",
        },
    }
}

/// What is known of the token in words.
fn token(Finding { state, is_shaped, .. }: &Finding) -> String {
    let (digest, known) = match state {
        Found::NoToken => return "the checksum is wrong".to_owned(),
        Found::NotLookedUp(digest) | Found::Unknown(digest) => (digest, None),
        Found::Known(digest, known) => (digest, Some(known)),
    };
    let fingerprint = digest.fingerprint();
    let Some(known) = known else { return format!("token {REDACTED}, fingerprint {fingerprint}") };
    let token = if *is_shaped { REDACTED } else { "chosen by its operator" };
    let moment = match known.state {
        SecretState::Live { until: None } => "never expires".to_owned(),
        SecretState::Live { until: Some(until) } => format!("until {until}"),
        SecretState::InGrace { until } => format!("rotated, and in grace until {until}"),
        SecretState::Disabled { since } | SecretState::Expired { since } | SecretState::Former { since } => {
            format!("since {since}")
        }
    };
    format!(
        "token {token}, fingerprint {fingerprint}, id {}, name `{}`, {moment}",
        known.id,
        safe(&known.name)
    )
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
    let states = [
        (totals.live, "live"),
        (totals.disabled, "disabled"),
        (totals.expired, "expired"),
        (totals.former, "former"),
        (totals.unknown, "not known here"),
        (totals.not_looked_up, "not looked up"),
    ];
    let found: u64 = states.iter().map(|(count, _)| count).sum();
    if found == 0 {
        return format!("{read}: no token was found");
    }
    let states = states.iter().filter(|(count, _)| *count > 0);
    let states: Vec<String> = states.map(|(count, state)| format!("{count} {state}")).collect();
    format!("{read}: {} found: {}", counted(found, "token", "tokens"), states.join(", "))
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
    let files = counted(compressed, "file", "files");
    tell(compressed, format!("the content of {files} is compressed, and was not seen"));
    let history = "the history of a repository is compressed: `git log -p --all --text | rolegate token scan -` reads it";
    tell(repositories, history.to_owned());
    let texts = counted(
        wrong_checksums,
        "text looks like a token and is none",
        "texts look like tokens and are none",
    );
    let unknown =
        counted(totals.unknown, "token is not known here: it was", "tokens are not known here: they were");
    tell(totals.unknown, format!("{unknown} deleted, or made by another installation"));
    tell(
        totals.live,
        "a live token is replaced by `sts service-token rotate`, and ended by `delete` or `disable`"
            .to_owned(),
    );
    let untold = if tells_all { 0 } else { wrong_checksums };
    tell(untold, format!("{texts}, since the checksum is wrong; `--all` tells where"));
    remarks
}

pub(super) fn json(collection: &Collection) -> Value {
    let Totals { files, bytes, unread, links, special, compressed, .. } = collection.totals;
    let Totals { live, disabled, expired, former, unknown, .. } = collection.totals;
    let Totals { not_looked_up, wrong_checksums, untold, .. } = collection.totals;
    json!({
        "findings": collection.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "summary": {
            "files": files,
            "bytes": bytes,
            "live": live,
            "disabled": disabled,
            "expired": expired,
            "former": former,
            "unknown": unknown,
            "not_looked_up": not_looked_up,
            "wrong_checksum": wrong_checksums,
            "untold": untold,
            "unread": unread,
            "links": links,
            "special": special,
            "compressed": compressed,
        },
    })
}

fn finding_json(finding: &Finding) -> Value {
    let (state, digest, known) = match &finding.state {
        Found::NoToken => ("wrong-checksum", None, None),
        Found::NotLookedUp(digest) => ("not-looked-up", Some(digest), None),
        Found::Unknown(digest) => ("unknown", Some(digest), None),
        Found::Known(digest, known) => (known.state.name(), Some(digest), Some(known)),
    };
    let moment = known.and_then(|known| known.state.moment()).map(|moment| moment.to_string());
    let (until, since) = if finding.state.is_live() { (moment, None) } else { (None, moment) };
    json!({
        "path": redacted(&finding.subject.path.to_string_lossy()),
        "line": finding.place.map(|place| place.line),
        "column": finding.place.map(|place| place.column),
        "offset": finding.place.map(|place| place.offset),
        "encoding": match finding.encoding {
            Encoding::Plain => "plain",
            Encoding::Utf16 => "utf-16",
            Encoding::Base64 => "base64",
        },
        "kind": if finding.is_shaped { "generated" } else { "chosen" },
        "state": state,
        "fingerprint": digest.map(|digest| digest.fingerprint()),
        "id": known.map(|known| known.id.get()),
        "name": known.map(|known| redacted(&known.name)),
        "until": until,
        "since": since,
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
fn safe(text: &str) -> String {
    let is_plain = |letter: char| matches!(letter, '"' | '\'' | '\\') || letter.escape_debug().len() == 1;
    let escape = |letter: char| match is_plain(letter) {
        true => letter.to_string(),
        false => letter.escape_debug().to_string(),
    };
    redacted(text).chars().map(escape).collect()
}

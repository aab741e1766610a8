//! What a program may take a target for, and what the policies of the corpora say to each of these, written a second
//! time without rolegate.

use super::Who;
use std::collections::BTreeSet;
use unicode_normalization::UnicodeNormalization as _;

/// More readings than this of one target are not looked for.
const READINGS_MAX: usize = 2_000;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Whether somebody may do this by the policies, whatever of its readings a program takes.
pub(super) fn is_permitted_however_read(who: Who, method: &str, target: &[u8]) -> bool {
    readings(target).iter().all(|path| is_permitted(who, method, &plain(path)))
}

/// Whether somebody may do this by the policies of the corpora.
pub(super) fn is_permitted(who: Who, method: &str, path: &str) -> bool {
    let is_below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    let is_at = |prefix: &str| path == prefix || is_below(prefix);
    let is_read = method == "GET" || method == "HEAD";
    let is_any = METHODS.contains(&method);
    let is_open = is_read && (is_below("/public") || path == "/health");
    is_open
        || match who {
            Who::Nobody => false,
            Who::User => {
                let name = path.strip_prefix("/files/");
                (is_any && is_below("/api") && !is_at("/api/admin") && !is_at("/api/keys"))
                    || (is_read && name.is_some_and(|name| !name.is_empty() && !name.contains('/')))
            }
            Who::Admin => is_any && (is_below("/api") || is_at("/admin")),
        }
}

/// Every path that a program may take a target for, by any of these steps in any order.
fn readings(target: &[u8]) -> BTreeSet<String> {
    let steps: [fn(&str) -> String; 9] = [
        without_authority,
        |path| path.split(['?', '#']).next().unwrap_or_default().to_owned(),
        decoded,
        |path| path.replace('\\', "/"),
        without_parameters,
        |path| {
            let mut path = path.to_owned();
            while path.contains("//") {
                path = path.replace("//", "/");
            }
            path
        },
        without_dots,
        |path| path.split('\0').next().unwrap_or_default().to_owned(),
        |path| path.nfkc().filter(|c| !matches!(c, '\u{200b}' | '\u{ad}' | '\u{202e}')).collect(),
    ];
    // A program sees the path, whatever else it makes of it.
    let first = without_authority(&String::from_utf8_lossy(target));
    let mut found = BTreeSet::new();
    let mut rest = vec![first.split('?').next().unwrap_or_default().to_owned()];
    while let Some(path) = rest.pop() {
        if found.len() < READINGS_MAX && found.insert(path.clone()) {
            rest.extend(steps.iter().map(|step| step(&path)));
            rest.push(
                path.split('/')
                    .map(|segment| segment.trim().trim_end_matches('.'))
                    .collect::<Vec<_>>()
                    .join("/"),
            );
        }
    }
    found
}

fn without_authority(target: &str) -> String {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or_else(String::new, |at| rest.split_at(at).1.to_owned())
        }
        _ => target.to_owned(),
    }
}

/// Percent-decoding as careless programs do it: `%u` forms and overlong UTF-8 too.
fn decoded(path: &str) -> String {
    let hex = |text: Option<&str>| u32::from_str_radix(text?, 16).ok();
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let rest = &path.as_bytes()[at..];
        let wide = hex(path.get(at + 2..at + 6)).and_then(char::from_u32);
        if rest.starts_with(b"%u")
            && let Some(wide) = wide
        {
            bytes.extend(wide.to_string().bytes());
            at += 6;
        } else if rest[0] == b'%'
            && let Some(byte) = hex(path.get(at + 1..at + 3))
        {
            bytes.push(u8::try_from(byte).unwrap());
            at += 3;
        } else {
            bytes.push(rest[0]);
            at += 1;
        }
    }
    let overlong: [(&[u8], u8); 4] =
        [(b"\xc0\xae", b'.'), (b"\xc0\xaf", b'/'), (b"\xc1\xa1", b'a'), (b"\xe0\x80\xae", b'.')];
    for (long, short) in overlong {
        while let Some(at) = bytes.windows(long.len()).position(|window| window == long) {
            bytes.splice(at..at + long.len(), [short]);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Without escapes that stand for themselves, which no program takes for something else than what they stand for.
fn plain(path: &str) -> String {
    let mut plain = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.map(char::from).filter(|c| c.is_ascii_alphanumeric() || "-._~".contains(*c)) {
            Some(letter) => {
                plain.push(letter);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain + rest
}

fn without_parameters(path: &str) -> String {
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/")
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." if kept.len() > 1 => drop(kept.pop()),
            ".." => {}
            _ => kept.push(segment),
        }
    }
    kept.join("/")
}

#[test]
fn readings_find_what_is_hidden() {
    for hidden in [
        "/admin",
        "/%61dmin",
        "/public/../admin",
        "/public/..%2fadmin",
        "/public/%252e%252e/admin",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%u002e%u002e/admin",
        "/public;/..;/admin",
        "//admin",
        "/public/x/..\\..\\admin",
        "/admin%00",
        "/admin ",
        "/%EF%BC%8Fadmin",
        "http://localhost/admin?x",
        "/admin#/public",
    ] {
        assert!(!is_permitted_however_read(Who::User, "GET", hidden.as_bytes()), "{hidden}");
    }
    for plain in
        ["/api/..a", "/api/x?y=/../admin", "/public/a.css", "/files/x", "/api/100%25", "/api/caf%c3%a9"]
    {
        assert!(is_permitted_however_read(Who::User, "GET", plain.as_bytes()), "{plain}");
    }
    assert!(is_permitted_however_read(Who::Admin, "POST", b"/%61dmin"));
    assert!(!is_permitted_however_read(Who::Nobody, "POST", b"/public/a.css"));
}

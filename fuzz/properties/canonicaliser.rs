//! A path that is accepted has one spelling, hides nothing, and is the one that a request is decided by.

use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use rolegate::path::{CanonicalPath, TARGET_MAX_BYTES};
use rolegate::request::Request;

/// So often a path is decoded again in search of something hidden.
const DECODINGS: usize = 10;
/// What RFC 3986 lets stand in a segment as it is, without the semicolon.
const PLAIN: &[u8] = b"-._~!$&'()*+,=:@";

pub(crate) fn check(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let parsed = CanonicalPath::parse(raw);
    if let Ok(path) = &parsed {
        let text = path.as_str();
        assert_eq!(CanonicalPath::parse(text).as_ref(), Ok(path), "another spelling of {raw:?}");
        let segments: Vec<&str> = path.segments().collect();
        assert_eq!(format!("/{}", segments.join("/")), text, "segments of {raw:?}");
        is_canonical(text);
        hides_nothing(text);
    }
    for twin in [in_triplets(raw), in_other_case(raw)] {
        let other = CanonicalPath::parse(&twin);
        if twin.len() <= TARGET_MAX_BYTES {
            assert_eq!(parsed.as_ref().ok(), other.as_ref().ok(), "{raw:?} and its twin {twin:?}");
        }
    }
    is_decided_by(raw, parsed.ok().as_ref());
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || PLAIN.contains(&byte)
}

fn is_canonical(text: &str) {
    assert!(text.starts_with('/') && !text.contains("//"), "{text:?}");
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let [high, low, after @ ..] = tail else { unfit(text) };
            let digits = std::str::from_utf8(&[*high, *low]).map(str::to_owned).unwrap_or_default();
            let Ok(byte) = u8::from_str_radix(&digits, 16) else { unfit(text) };
            assert_eq!(digits, digits.to_ascii_uppercase(), "{text:?}");
            assert!(!is_plain(byte) && !b"/\\;?#".contains(&byte), "{text:?} encodes {digits}");
            assert!(byte >= 0x20 && byte != 0x7f, "{text:?} has a control character");
            rest = after;
        } else {
            assert!(is_plain(*first) || *first == b'/', "{text:?} has a raw {first:#x}");
        }
    }
}

#[expect(clippy::panic, reason = "a property that does not hold is a panic")]
fn unfit(text: &str) -> ! {
    panic!("{text:?} has a percent sign without two digits")
}

/// Whoever decodes the path again, and however often, finds the same segments.
fn hides_nothing(text: &str) {
    let mut seen = text.as_bytes().to_vec();
    for _ in 0..DECODINGS {
        seen = decoded(&seen);
        let again = String::from_utf8_lossy(&seen);
        assert_eq!(again.split('/').count(), text.split('/').count(), "{text:?} decodes to {again:?}");
        assert!(!again.contains(['\\', ';', '?', '#', '\u{fffd}']), "{text:?} decodes to {again:?}");
        assert!(!again.chars().any(char::is_control), "{text:?} decodes to {again:?}");
        for segment in again.split('/') {
            let is_dots = segment.starts_with('.') && segment.trim_matches(['.', ' ']).is_empty();
            assert!(!is_dots && segment.trim() == segment, "{text:?} decodes to {again:?}");
        }
    }
}

/// Decodes every triplet and leaves a percent sign without two digits as it is.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, triplet(rest)) {
            (b'%', Some((byte, after))) => {
                text.push(byte);
                rest = after;
            }
            _ => text.push(*first),
        }
    }
    text
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn triplet(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = after_percent.split_at_checked(2)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, after))
}

/// The same path with every plain character in a triplet.
fn in_triplets(raw: &str) -> String {
    rewritten(
        raw,
        |letter| if is_plain(letter) { format!("%{letter:02x}") } else { String::new() },
        str::to_owned,
    )
}

/// The same path with the digits of its triplets in the other case.
fn in_other_case(raw: &str) -> String {
    let swapped = |letter: char| match letter {
        'a'..='f' => letter.to_ascii_uppercase(),
        _ => letter.to_ascii_lowercase(),
    };
    rewritten(raw, |_| String::new(), |digits| digits.chars().map(swapped).collect())
}

/// The text with its characters outside triplets replaced, unless by nothing, and the digits of its triplets.
fn rewritten(raw: &str, letter: impl Fn(u8) -> String, digits: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        let tail = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = tail;
        match (first, tail.get(..2).filter(|two| triplet(two.as_bytes()).is_some())) {
            ('%', Some(two)) => {
                text.push('%');
                text.push_str(&digits(two));
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => match u8::try_from(first).map(&letter) {
                Ok(other) if !other.is_empty() => text.push_str(&other),
                _ => text.push(first),
            },
        }
    }
    text
}

/// A request with this target is decided by this path, or refused when there is none.
fn is_decided_by(raw: &str, path: Option<&CanonicalPath>) {
    let Ok(uri) = raw.parse::<Uri>() else { return };
    let headers: HeaderMap =
        [(http::header::HOST, HeaderValue::from_static("localhost"))].into_iter().collect();
    let request = Request::read(Method::GET, &uri, Version::HTTP_11, headers, None);
    let is_path = raw.starts_with('/') && !raw.contains(['?', '#']);
    if let Ok(request) = &request {
        let own = CanonicalPath::parse(uri.path());
        assert_eq!(Ok(request.path()), own.as_ref(), "the request {raw:?}");
    }
    if is_path {
        assert_eq!(request.as_ref().ok().map(Request::path), path, "the request {raw:?}");
    }
}

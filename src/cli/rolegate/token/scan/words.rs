//! Words that an operator could have chosen as a token. They have no shape: only their digests can tell.

use crate::token::candidates::Encoding;
use crate::token::{CHOSEN_SECRET_MIN_CHARS, SECRET_MAX_CHARS, Secret, SecretKind, TokenDigest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

/// The longest word: that of the longest secret in base64.
pub(super) const WORD_MAX_BYTES: usize = (SECRET_MAX_CHARS * 4).div_ceil(3);
/// A word is tried up to so many of the marks in it, and up to its end.
const MARKS_MAX: usize = 4;

/// What a byte is to a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Part of it.
    Inner,
    /// A mark such as `=`: a word may start after it and end before it, or go on.
    Mark,
    /// A quote or a bracket: the same, but only a word between two blanks goes on.
    Quote,
    /// No part of a secret.
    Blank,
}

const CLASSES: [Class; 256] = classes();

/// The digest of each word that starts from `from` on and before `until`, with its place.
pub(super) fn each(
    bytes: &[u8],
    from: usize,
    until: usize,
    found: &mut dyn FnMut(usize, TokenDigest, Encoding),
) {
    for at in from..until {
        let before = at.checked_sub(1).map_or(Class::Blank, |before| class(bytes, before));
        if before == Class::Inner || class(bytes, at) == Class::Blank {
            continue;
        }
        let (mut marks, mut is_quoted) = (0, false);
        for end in at..=at + WORD_MAX_BYTES {
            let class = class(bytes, end);
            if class == Class::Inner {
                continue;
            }
            if end > at && !is_quoted && (class != Class::Mark || marks < MARKS_MAX) || class == Class::Blank
            {
                digest(bytes.get(at..end).unwrap_or_default(), &mut |digest, encoding| {
                    found(at, digest, encoding);
                });
                if end - at >= CHOSEN_SECRET_MIN_CHARS {
                    marks += 1;
                }
            }
            is_quoted |= class == Class::Quote && end > at;
            if class == Class::Blank || is_quoted && before != Class::Blank {
                break;
            }
        }
    }
}

/// The digest of a word as it stands, and of what it is in base64.
fn digest(word: &[u8], found: &mut dyn FnMut(TokenDigest, Encoding)) {
    if let Some(digest) = chosen(word) {
        found(digest, Encoding::Plain);
    }
    // Twenty characters are 27 of base64, and a text of ASCII has none of its last two letters but in odd places.
    if word.len() > CHOSEN_SECRET_MIN_CHARS * 4 / 3 {
        let mut decoded = Zeroizing::new(vec![0; word.len()]);
        let length = STANDARD_NO_PAD.decode_slice(word, &mut decoded).unwrap_or_default();
        if let Some(digest) = decoded.get(..length).and_then(chosen) {
            found(digest, Encoding::Base64);
        }
    }
}

/// The digest of a text that an operator may choose. Those that are generated are found by their shape.
fn chosen(word: &[u8]) -> Option<TokenDigest> {
    if !(CHOSEN_SECRET_MIN_CHARS..=SECRET_MAX_CHARS).contains(&word.len()) {
        return None;
    }
    match Secret::parse(std::str::from_utf8(word).ok()?).ok()? {
        (secret, SecretKind::Chosen) => Some(secret.digest()),
        (_, SecretKind::Generated) => None,
    }
}

/// What stands at a place; beyond both ends there is nothing.
fn class(bytes: &[u8], at: usize) -> Class {
    bytes.get(at).and_then(|byte| CLASSES.get(usize::from(*byte))).copied().unwrap_or(Class::Blank)
}

#[expect(clippy::indexing_slicing, reason = "a byte is below 256, and this runs when it is compiled")]
const fn classes() -> [Class; 256] {
    let mut classes = [Class::Blank; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b',' => Class::Blank,
            b'=' | b':' | b';' | b'&' | b'?' | b'@' | b'/' | b'|' | b'#' => Class::Mark,
            b'"' | b'\'' | b'`' | b'\\' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' | b'[' | b']' => {
                Class::Quote
            }
            byte if byte.is_ascii_graphic() => Class::Inner,
            _ => Class::Blank,
        };
        byte += 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHOSEN: &str = "4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u";

    /// Where this secret is found.
    fn places(text: &str, secret: &str) -> Vec<(usize, Encoding)> {
        let digest = Secret::parse(secret).map(|(secret, _)| secret.digest()).ok();
        let mut found = Vec::new();
        each(text.as_bytes(), 0, text.len(), &mut |at, other, encoding| {
            if Some(other) == digest {
                found.push((at, encoding));
            }
        });
        found
    }

    #[test]
    fn word_is_tried_between_blanks_quotes_and_marks() {
        for (before, after) in [
            ("", ""),
            ("a ", "\n"),
            ("\"", "\""),
            ("x=", ";y"),
            ("a:b:", ""),
            ("(", ")"),
            ("a,", ",b"),
            ("u/", "?q#f"),
        ] {
            let text = format!("{before}{CHOSEN}{after}");
            assert_eq!(places(&text, CHOSEN), [(before.len(), Encoding::Plain)], "{text}");
        }
        assert_eq!(places(&format!("x{CHOSEN}"), CHOSEN), []);
        assert_eq!(places(&format!("{CHOSEN}x"), CHOSEN), []);
    }

    #[test]
    fn secret_that_holds_marks_and_quotes_is_tried_whole() {
        for secret in ["a=b:c;d&e?f@g/h|i#j-and-so-on", "\"quoted\"(and)[bracketed]{words}"] {
            assert_eq!(places(&format!("key: {secret} "), secret), [(5, Encoding::Plain)]);
        }
        let marked = "a=b-and-nineteen-letters-more";
        assert_eq!(places(&format!("\"{marked}\""), marked), [(1, Encoding::Plain)]);
    }

    #[test]
    fn word_has_as_many_letters_as_a_secret_may_have() {
        for (letters, is_found) in [(19, false), (20, true), (256, true), (257, false)] {
            let text = "-".repeat(letters);
            let mut found = 0;
            each(text.as_bytes(), 0, letters, &mut |_, _, _| found += 1);
            assert_eq!(found, usize::from(is_found), "{letters}");
        }
        let (longest, text) = ("x-y-".repeat(64), STANDARD_NO_PAD.encode("x-y-".repeat(64)));
        assert!(text.len() <= WORD_MAX_BYTES);
        assert_eq!(places(&text, &longest), [(0, Encoding::Base64)]);
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for secret in [CHOSEN, "twenty-letters-in-it", "a-few-letters-more-than-20"] {
            let text = STANDARD_NO_PAD.encode(secret);
            assert_eq!(places(&format!("token: {text}"), secret), [(7, Encoding::Base64)]);
            assert_eq!(places(&format!("token: {text}==\n"), secret), [(7, Encoding::Base64)]);
        }
    }

    #[test]
    fn generated_tokens_are_left_to_their_shape() {
        let secret = Secret::generate().unwrap();
        let mut found = 0;
        each(secret.expose().as_bytes(), 0, secret.expose().len(), &mut |_, _, _| found += 1);
        assert_eq!(found, 0);
    }

    proptest! {
        /// A secret of any letters, between blanks: what YAML, shells and logs show.
        #[test]
        fn any_secret_between_blanks_is_found(
            secret in "[!-+.-~]{20,256}",
            before in "[ -~]{0,40}",
            after in "[ -~]{0,40}",
        ) {
            prop_assume!(Secret::parse(&secret).is_ok_and(|(_, kind)| kind == SecretKind::Chosen));
            let text = format!("{before} {secret}\t{after}");
            prop_assert!(places(&text, &secret).contains(&(before.len() + 1, Encoding::Plain)));
        }
    }
}

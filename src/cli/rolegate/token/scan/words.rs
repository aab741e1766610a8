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

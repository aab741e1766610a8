//! Paths in the one spelling that is decided on and handed on, and the refusal of every path that two
//! programs could read differently.
//!
//! The rules follow RFC 3986: percent-encoded characters that may stand in a path unencoded are decoded
//! once, all others keep their triplet in upper case (sections 2.1 and 6.2.2). Everything that common
//! servers decode twice, trim, fold or split at is refused before a policy sees it.

use std::fmt;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// The longest request target, path and query together, in bytes.
pub const TARGET_MAX_BYTES: usize = 8192;
/// How often an encoded text is decoded in search of something hidden. Each round shortens the text, so
/// that only a text made for the purpose needs more.
const DECODING_ROUNDS_MAX: usize = 8;

/// A path in canonical spelling. It starts with `/`, except for `*`, the target of a server-wide `OPTIONS`,
/// which no pattern matches.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalPath(Arc<str>);

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Longer than [`TARGET_MAX_BYTES`].
    #[error("the request target is longer than {TARGET_MAX_BYTES} bytes")]
    TooLong,
    /// Does not start with `/`.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// `.`, `..`, or more dots alone in a segment, in any encoding; also with spaces, which some file systems drop.
    #[error("the path has a segment of dots alone")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `%2F`.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// `\` or `%5C`.
    #[error("the path has a backslash")]
    Backslash,
    /// NUL, another control character, or DEL, raw or encoded.
    #[error("the path has a control character")]
    Control,
    /// `;` or `%3B`: some servers cut a segment there.
    #[error("the path has a semicolon")]
    Semicolon,
    /// `%3F` or `%23`: decoded, they would end the path.
    #[error("the path has an encoded question mark or number sign")]
    EncodedDelimiter,
    /// `%` without two hexadecimal digits.
    #[error("the path has a percent sign without two hexadecimal digits")]
    BadTriplet,
    /// Not UTF-8 once decoded, overlong forms and surrogates among it.
    #[error("the path is not valid UTF-8")]
    BadUtf8,
    /// Decoding the path a second time would bring out one of the other refusals.
    #[error("the path is encoded twice")]
    EncodedTwice,
    /// White space at the start or the end of a segment: some servers trim it.
    #[error("a segment of the path begins or ends with white space")]
    EdgeSpace,
    /// An invisible, private-use, unassigned or direction-changing character.
    #[error("the path has an invisible or private-use character")]
    Invisible,
    /// A character that some servers fold into a delimiter, such as a full-width solidus.
    #[error("the path has a character that resembles a delimiter")]
    Lookalike,
    /// A character that may not stand in a path unencoded.
    #[error("the path has a character that must be encoded")]
    BadCharacter,
}

impl CanonicalPath {
    /// The target of a server-wide `OPTIONS` request.
    pub fn asterisk() -> Self {
        Self(Arc::from("*"))
    }

    /// Reads the path of a request target, without query, as it stands in the request line.
    ///
    /// # Errors
    /// When two programs could read the path differently; see [`PathError`].
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if raw.len() > TARGET_MAX_BYTES {
            return Err(PathError::TooLong);
        }
        let Some(below_root) = raw.strip_prefix('/') else { return Err(PathError::NotAbsolute) };

        let mut canonical = String::with_capacity(raw.len());
        let mut segments = below_root.split('/').peekable();
        while let Some(segment) = segments.next() {
            canonical.push('/');
            // The last segment may be empty: a trailing slash is significant.
            if segment.is_empty() && segments.peek().is_some() {
                return Err(PathError::EmptySegment);
            }
            push_canonical_segment(&mut canonical, segment)?;
        }
        Ok(Self(Arc::from(canonical)))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments below the root, in canonical spelling: `/a/` has `a` and an empty one. The asterisk has none.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.strip_prefix('/').into_iter().flat_map(|below_root| below_root.split('/'))
    }
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decodes the percent-encoding of `text` once; `None` when it is not UTF-8, or has a percent sign without
/// two hexadecimal digits.
pub(crate) fn decode_strictly(text: &str) -> Option<String> {
    String::from_utf8(decode(text.as_bytes(), true).ok()?).ok()
}

fn push_canonical_segment(canonical: &mut String, segment: &str) -> Result<(), PathError> {
    // Most segments are plain: nothing in them is encoded, and nothing can hide.
    if segment.bytes().all(is_pchar) && segment.bytes().any(|byte| byte != b'.') {
        canonical.push_str(segment);
        return Ok(());
    }
    if let Some(bad) = segment.bytes().find(|byte| *byte != b'%' && !is_pchar(*byte)) {
        return Err(match bad {
            b'\\' => PathError::Backslash,
            b';' => PathError::Semicolon,
            0..=0x1f | 0x7f => PathError::Control,
            _ => PathError::BadCharacter,
        });
    }
    let decoded = decode(segment.as_bytes(), true)?;
    let text = inspect(&decoded)?;
    refuse_what_hides(text)?;
    for letter in text.chars() {
        match u8::try_from(letter) {
            Ok(byte) if is_pchar(byte) => canonical.push(letter),
            _ => push_triplets(canonical, letter),
        }
    }
    Ok(())
}

/// Refuses what a program behind us would see if it decoded the segment once more, or many times.
fn refuse_what_hides(text: &str) -> Result<(), PathError> {
    let mut seen = text.as_bytes().to_vec();
    for _ in 0..DECODING_ROUNDS_MAX {
        let next = decode(&seen, false)?;
        if has_wide_triplet(&next) {
            return Err(PathError::EncodedTwice);
        }
        if next == seen {
            return Ok(());
        }
        inspect(&next).map_err(|_| PathError::EncodedTwice)?;
        seen = next;
    }
    Err(PathError::EncodedTwice)
}

/// Whether there is a `%u002E`, by which some servers mean a character.
fn has_wide_triplet(text: &[u8]) -> bool {
    text.windows(6).any(
        |wide| matches!(wide, [b'%', b'u' | b'U', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit)),
    )
}

/// Decodes every percent triplet. A percent sign without two digits is an error when `strict`, and stays
/// as it is otherwise.
fn decode(bytes: &[u8], strict: bool) -> Result<Vec<u8>, PathError> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        match tail {
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            _ if strict => return Err(PathError::BadTriplet),
            _ => decoded.push(b'%'),
        }
    }
    Ok(decoded)
}

/// The checks that a decoded segment must pass.
fn inspect(decoded: &[u8]) -> Result<&str, PathError> {
    for byte in decoded {
        match byte {
            b'/' => return Err(PathError::EncodedSlash),
            b'\\' => return Err(PathError::Backslash),
            b';' => return Err(PathError::Semicolon),
            b'?' | b'#' => return Err(PathError::EncodedDelimiter),
            0..=0x1f | 0x7f => return Err(PathError::Control),
            _ => {}
        }
    }
    let text = std::str::from_utf8(decoded).map_err(|_| PathError::BadUtf8)?;
    if text.starts_with('.') && text.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        return Err(PathError::DotSegment);
    }
    if !text.is_ascii() {
        text.chars().try_for_each(inspect_letter)?;
    }
    if text.trim().len() != text.len() {
        return Err(PathError::EdgeSpace);
    }
    Ok(text)
}

fn inspect_letter(letter: char) -> Result<(), PathError> {
    if letter.is_ascii() {
        return Ok(());
    }
    match letter.general_category() {
        GeneralCategory::Control => return Err(PathError::Control),
        GeneralCategory::Format
        | GeneralCategory::PrivateUse
        | GeneralCategory::Unassigned
        | GeneralCategory::Surrogate
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => return Err(PathError::Invisible),
        _ => {}
    }
    if is_ignorable(letter) {
        return Err(PathError::Invisible);
    }
    let folded = std::iter::once(letter).nfkc();
    if is_best_fit_delimiter(letter)
        || folded.into_iter().any(|part| matches!(part, '/' | '\\' | '.' | '%' | ';' | '?' | '#'))
    {
        return Err(PathError::Lookalike);
    }
    Ok(())
}

/// Letters and marks that are drawn as nothing: Unicode's `Default_Ignorable_Code_Point` outside the
/// categories that are refused whole.
fn is_ignorable(letter: char) -> bool {
    matches!(letter,
        '\u{034f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}')
}

/// What conversions to an 8-bit character set make a slash, a backslash or a percent sign of, without Unicode
/// saying so: fraction and division slash, set minus, the solidus operators, and the Arabic percent sign.
const fn is_best_fit_delimiter(letter: char) -> bool {
    matches!(letter, '\u{66a}' | '\u{2044}' | '\u{2215}'..='\u{2216}' | '\u{29f5}' | '\u{29f8}'..='\u{29f9}')
}

/// `pchar` of RFC 3986, section 3.3, without the semicolon.
const fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
        )
        || matches!(byte, b'=' | b':' | b'@')
}

const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Appends the percent triplets of a character.
pub(crate) fn push_triplets(canonical: &mut String, letter: char) {
    let mut buffer = [0_u8; 4];
    for byte in letter.encode_utf8(&mut buffer).bytes() {
        canonical.push('%');
        canonical.extend(
            [byte >> 4, byte & 0xf]
                .map(|nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of which hostile and legal paths are made.
    const PIECES: [&str; 28] = [
        "/",
        "a",
        ".",
        "%",
        "25",
        "%25",
        "2e",
        "%2e",
        "2F",
        "%2f",
        "5c",
        "%5C",
        "3b",
        ";",
        "00",
        "%u002e",
        "u002E",
        "%c0",
        "%ae",
        "%20",
        "%E2%88%95",
        "%EF%BC%8F",
        "%E2%80%8B",
        "%C3%A9",
        "~",
        "*",
        "+",
        "41",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whoever decodes an accepted path again, and however often, finds the same segments and no dots alone.
        #[test]
        fn accepted_path_has_one_spelling_and_hides_nothing(
            pieces in proptest::collection::vec(proptest::sample::select(&PIECES), 0..9),
        ) {
            let raw = format!("/{}", pieces.concat());
            let Ok(path) = CanonicalPath::parse(&raw) else { return Ok(()) };
            prop_assert_eq!(CanonicalPath::parse(path.as_str()), Ok(path.clone()), "{}", raw);
            let mut seen = path.as_str().as_bytes().to_vec();
            for _ in 0..10 {
                seen = decode(&seen, false).unwrap();
                let text = std::str::from_utf8(&seen).unwrap();
                prop_assert_eq!(text.split('/').count(), path.as_str().split('/').count(), "{}", raw);
                prop_assert!(!text.contains(['\\', ';', '\0', '?', '#']), "{}", raw);
                prop_assert!(!text.split('/').any(|part| part == "." || part == ".."), "{}", raw);
                prop_assert!(!text.to_lowercase().contains("%u002e"), "{}", raw);
            }
        }
    }

    fn canonical(raw: &str) -> String {
        CanonicalPath::parse(raw).unwrap().as_str().to_owned()
    }

    fn refusal(raw: &str) -> PathError {
        CanonicalPath::parse(raw).unwrap_err()
    }

    #[test]
    fn legal_paths_keep_or_gain_one_spelling() {
        for (raw, expected) in [
            ("/", "/"),
            ("/api/", "/api/"),
            ("/api/..a", "/api/..a"),
            ("/api/%7Euser", "/api/~user"),
            ("/api/caf%c3%a9", "/api/caf%C3%A9"),
            ("/api/a%3ab", "/api/a:b"),
            ("/api/100%25", "/api/100%25"),
            ("/api/a%20b", "/api/a%20b"),
            ("/api/%22", "/api/%22"),
            ("/%61%64%6D%69%6E", "/admin"),
            ("/api/100%2541", "/api/100%2541"),
            ("/api/100%25unit", "/api/100%25unit"),
            ("/api/.%20a", "/api/.%20a"),
            ("/api/%C2%BD", "/api/%C2%BD"),
            ("/api/%E2%88%92", "/api/%E2%88%92"),
        ] {
            assert_eq!(canonical(raw), expected, "{raw}");
            assert_eq!(canonical(expected), expected, "canonical spelling of {raw} is stable");
        }
    }

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        for (raw, expected) in [
            ("api", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
            ("/api/../x", PathError::DotSegment),
            ("/api/%2e%2E/x", PathError::DotSegment),
            ("/api/...", PathError::DotSegment),
            ("/api/.%20./x", PathError::DotSegment),
            ("//", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a%2fb", PathError::EncodedSlash),
            ("/a\\b", PathError::Backslash),
            ("/a%5Cb", PathError::Backslash),
            ("/a%00", PathError::Control),
            ("/a%C2%85b", PathError::Control),
            ("/a;b", PathError::Semicolon),
            ("/a%3bb", PathError::Semicolon),
            ("/a%3Fb", PathError::EncodedDelimiter),
            ("/a%23b", PathError::EncodedDelimiter),
            ("/a%2", PathError::BadTriplet),
            ("/a%u0041", PathError::BadTriplet),
            ("/%c0%ae", PathError::BadUtf8),
            ("/%252e%252e/x", PathError::EncodedTwice),
            ("/a%252fb", PathError::EncodedTwice),
            ("/a%25%32%66b", PathError::EncodedTwice),
            ("/a%25252fb", PathError::EncodedTwice),
            ("/%25c0%25ae", PathError::EncodedTwice),
            ("/api/%25u002e%25u002e/x", PathError::EncodedTwice),
            ("/api/%2525U002e", PathError::EncodedTwice),
            ("/a%20", PathError::EdgeSpace),
            ("/%E3%80%80a", PathError::EdgeSpace),
            ("/a%E2%80%8Bb", PathError::Invisible),
            ("/a%EF%B8%8Fb", PathError::Invisible),
            ("/%EF%BC%8Fa", PathError::Lookalike),
            ("/..%E2%81%84a", PathError::Lookalike),
            ("/..%E2%88%95a", PathError::Lookalike),
            ("/..%E2%88%96a", PathError::Lookalike),
            ("/%D9%AA2e", PathError::Lookalike),
            ("/a b", PathError::BadCharacter),
            ("/[x]", PathError::BadCharacter),
            ("/caf\u{e9}", PathError::BadCharacter),
        ] {
            assert_eq!(refusal(raw), expected, "{raw}");
        }
    }

    #[test]
    fn path_of_the_longest_length_is_read_and_one_byte_more_is_not() {
        let longest = format!("/{}", "a".repeat(TARGET_MAX_BYTES - 1));
        assert_eq!(canonical(&longest), longest);
        assert_eq!(refusal(&format!("{longest}a")), PathError::TooLong);
    }

    #[test]
    fn nesting_of_encodings_ends() {
        let nested = format!("/%{}41", "25".repeat(20));
        assert_eq!(refusal(&nested), PathError::EncodedTwice);
    }

    #[test]
    fn segments_show_a_trailing_slash() {
        let segments =
            |raw: &str| CanonicalPath::parse(raw).unwrap().segments().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(segments("/a/b"), ["a", "b"]);
        assert_eq!(segments("/a/"), ["a", ""]);
        assert_eq!(segments("/"), [""]);
        assert_eq!(CanonicalPath::asterisk().segments().count(), 0);
    }
}

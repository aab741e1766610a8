//! Finds what has the shape of a generated secret among any bytes: in plain text, in UTF-16 and in base64.

use super::{BODY_CHARS, GROUP_CHARS, PREFIX, Secret, SecretError, SecretKind, TokenDigest};
use memchr::memmem;
use std::borrow::Cow;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// Characters of a generated secret: the prefix, and the groups with a hyphen between each two.
pub const GENERATED_CHARS: usize = PREFIX.len() + BODY_CHARS + BODY_CHARS / GROUP_CHARS - 1;

/// The most bytes that one candidate takes, with those after it that say whether it ends there. UTF-16 needs most.
pub const CANDIDATE_MAX_BYTES: usize = 2 * GENERATED_CHARS + 2;

/// What has the shape of a generated secret. It holds no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it starts.
    pub at: usize,
    /// The bytes that it takes.
    pub length: usize,
    /// How it is written.
    pub encoding: Encoding,
    /// The digest of the secret; `None` when the checksum is wrong, so that it is none.
    pub digest: Option<TokenDigest>,
}

/// How the characters of a secret are written as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// One byte each, as ASCII and UTF-8 have it.
    Plain,
    /// Two bytes each, in either order.
    Utf16,
    /// Base64 of either alphabet, on its own or in the midst of more. The place is that of the four characters in
    /// which the secret starts.
    Base64,
}

/// Looks for candidates.
#[derive(Clone, Debug)]
pub struct Finder {
    plain: memmem::Finder<'static>,
    utf16: memmem::Finder<'static>,
    base64: [Needle; 3],
}

/// What is shown in the place of a secret.
pub const REDACTED: &str = "svctok-…";

/// A text without the generated secrets that it holds, and without what is nearly one: a mistyped secret tells too much.
pub fn redacted(text: &str) -> String {
    let finder = Finder::new();
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = finder.find(rest.as_bytes(), rest.len()).first() {
        let end = found.at + found.length;
        let (Some(before), Some(after)) = (rest.get(..found.at), rest.get(end..)) else { break };
        shown.push_str(before);
        shown.push_str(REDACTED);
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// What the prefix is in base64, after so many bytes of something else in the same three.
#[derive(Clone, Debug)]
struct Needle {
    bytes_before: usize,
    /// Characters of the same four before the first that the prefix alone determines.
    chars_before: usize,
    finder: memmem::Finder<'static>,
}

impl Finder {
    /// A finder. It can be used many times.
    pub fn new() -> Self {
        // Without the second byte of the last character it is the same in both orders.
        let utf16: Vec<u8> = PREFIX.bytes().flat_map(|byte| [0, byte]).skip(1).collect();
        Self {
            plain: memmem::Finder::new(PREFIX).into_owned(),
            utf16: memmem::Finder::new(&utf16).into_owned(),
            base64: [0, 1, 2].map(Needle::new),
        }
    }

    /// All candidates that start before `until`, by place.
    ///
    /// One with a right checksum is found whatever stands around it. One with a wrong checksum counts only where its
    /// last character is the last of the word.
    pub fn find(&self, bytes: &[u8], until: usize) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        let strides = [(&self.plain, 1, Encoding::Plain), (&self.utf16, 2, Encoding::Utf16)];
        for (finder, stride, encoding) in strides {
            let places = finder.find_iter(bytes).take_while(|at| *at < until);
            found.extend(places.filter_map(|at| {
                let rest = bytes.get(at..)?;
                let next = rest.get(stride * GENERATED_CHARS).copied();
                // In UTF-16 every other byte must be empty, or this is something else.
                let is_empty = |at: usize| rest.get(at).is_none_or(|byte| *byte == 0);
                let is_wide = stride == 1 || (1..2 * GENERATED_CHARS - 1).step_by(2).all(is_empty);
                let digest = is_wide.then(|| read(rest.iter().step_by(stride).copied(), next))??;
                // In one order of UTF-16 the last character has no second byte behind it.
                let length = rest.len().min(stride * GENERATED_CHARS);
                Some(Candidate { at, length, encoding, digest: digest.0 })
            }));
        }
        for needle in &self.base64 {
            found.extend(needle.find(bytes).take_while(|candidate| candidate.at < until));
        }
        found.sort_by_key(|candidate| (candidate.at, candidate.encoding));
        found
    }
}

/// The text with `secret-of-token-` and the fingerprint in the place of each generated secret: for logs, where a secret
/// may arrive as a path, or as the name of a token. It is a word that a path may hold as it stands.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    static FINDER: LazyLock<Finder> = LazyLock::new(Finder::new);
    let mut clean = String::new();
    let mut done = 0;
    for Candidate { at, length, digest, .. } in FINDER.find(text.as_bytes(), text.len()) {
        // What has a wrong checksum opens nothing.
        let Some(digest) = digest else { continue };
        let Some(before) = text.get(done..at) else { continue };
        clean.push_str(before);
        clean.push_str("secret-of-token-");
        clean.push_str(&digest.fingerprint());
        done = at + length;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(clean)
}

impl Default for Finder {
    fn default() -> Self {
        Self::new()
    }
}

impl Needle {
    fn new(bytes_before: usize) -> Self {
        let mut bytes = vec![0; bytes_before];
        bytes.extend_from_slice(PREFIX.as_bytes());
        let chars_before = (8 * bytes_before).div_ceil(6);
        let chars = (chars_before..8 * bytes.len() / 6).filter_map(|at| sextet_of(&bytes, at));
        let text: Vec<u8> = chars.filter_map(|sextet| BASE64.get(usize::from(sextet)).copied()).collect();
        Self { bytes_before, chars_before, finder: memmem::Finder::new(&text).into_owned() }
    }

    fn find<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Candidate> + 'a {
        self.finder.find_iter(bytes).filter_map(|found| {
            let at = found.checked_sub(self.chars_before)?;
            let chars = (8 * (self.bytes_before + GENERATED_CHARS)).div_ceil(6);
            let mut sextets = Zeroizing::new(Vec::with_capacity(chars));
            for byte in bytes.get(at..)?.get(..chars)? {
                sextets.push(sextet(*byte)?);
            }
            let decoded = (self.bytes_before..).map_while(|at| octet_of(&sextets, at));
            let digest = read(decoded, None)?;
            Some(Candidate { at, length: chars, encoding: Encoding::Base64, digest: digest.0 })
        })
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The digest of a secret, when it is one.
struct Verdict(Option<TokenDigest>);

/// Whether these characters are a candidate, before `next`.
fn read(chars: impl Iterator<Item = u8>, next: Option<u8>) -> Option<Verdict> {
    let mut text = Zeroizing::new(String::with_capacity(GENERATED_CHARS));
    // Only ASCII, so that the text never outgrows its memory and leaves a copy.
    text.extend(chars.take(GENERATED_CHARS).take_while(u8::is_ascii).map(char::from));
    match Secret::parse(&text) {
        Ok((secret, SecretKind::Generated)) => Some(Verdict(Some(secret.digest()))),
        Err(SecretError::WrongChecksum) if !next.is_some_and(|byte| byte.is_ascii_alphanumeric()) => {
            Some(Verdict(None))
        }
        Ok((_, SecretKind::Chosen)) | Err(_) => None,
    }
}

/// The value of a character of base64, of either alphabet.
const fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// The six bits at a place of the text in base64.
fn sextet_of(bytes: &[u8], at: usize) -> Option<u8> {
    let (byte, bit) = (6 * at / 8, 6 * at % 8);
    let high = u16::from(*bytes.get(byte)?) << 8;
    let both = high | u16::from(bytes.get(byte + 1).copied().unwrap_or_default());
    u8::try_from((both >> (10 - bit)) & 0x3f).ok()
}

/// The byte at a place of what was written in base64.
fn octet_of(sextets: &[u8], at: usize) -> Option<u8> {
    let (first, bit) = (8 * at / 6, 8 * at % 6);
    let both = (u16::from(*sextets.get(first)?) << 6) | u16::from(*sextets.get(first + 1)?);
    u8::try_from((both >> (4 - bit)) & 0xff).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn generated() -> String {
        Secret::generate().unwrap().expose().to_owned()
    }

    fn find(bytes: &[u8]) -> Vec<(usize, Encoding, Option<TokenDigest>)> {
        let found = Finder::new().find(bytes, bytes.len());
        assert!(found.iter().all(|found| found.at + found.length <= bytes.len()));
        found.into_iter().map(|found| (found.at, found.encoding, found.digest)).collect()
    }

    fn digest_of(text: &str) -> Option<TokenDigest> {
        Some(Secret::parse(text).unwrap().0.digest())
    }

    /// The same secret with another last character, so that its checksum is wrong.
    fn spoiled(text: &str) -> String {
        let last = if text.ends_with('a') { "b" } else { "a" };
        format!("{}{last}", text.get(..text.len() - 1).unwrap())
    }

    #[test]
    fn text_without_secrets_has_their_fingerprints_and_everything_else() {
        for text in ["", "ci", "/api/security/tokens/355944160422821", "svctok-", "späte Läufe"] {
            assert!(matches!(without_secrets(text), Cow::Borrowed(same) if same == text));
        }
        let (one, two) = (generated(), generated());
        let word = |text: &str| format!("secret-of-token-{}", digest_of(text).unwrap().fingerprint());
        for (before, between, after) in [("", "", ""), ("/tokens/", "/", "/rotate"), ("ä", "ö ", "ü")] {
            let text = format!("{before}{one}{between}{two}{after}");
            let clean = format!("{before}{}{between}{}{after}", word(&one), word(&two));
            assert_eq!(without_secrets(&text), clean);
        }
        let encoded = String::from_utf8(base64(one.as_bytes(), true)).unwrap();
        assert!(without_secrets(&format!("/{encoded}/x")).starts_with("/secret-of-token-"));
        let spoiled = spoiled(&one);
        assert_eq!(without_secrets(&spoiled), spoiled, "it opens nothing");
    }

    fn utf16(text: &str, is_big: bool) -> Vec<u8> {
        text.bytes().flat_map(|byte| if is_big { [0, byte] } else { [byte, 0] }).collect()
    }

    fn base64(bytes: &[u8], is_url: bool) -> Vec<u8> {
        let chars = (8 * bytes.len()).div_ceil(6);
        let encode = |at| BASE64[usize::from(sextet_of(bytes, at).unwrap())];
        let text: Vec<u8> = (0..chars).map(encode).collect();
        let other = |byte| match byte {
            b'+' if is_url => b'-',
            b'/' if is_url => b'_',
            byte => byte,
        };
        text.into_iter().map(other).collect()
    }

    /// The plain ones, found without any search: every place is tried.
    fn reference(bytes: &[u8]) -> Vec<(usize, Option<TokenDigest>)> {
        let at_place = |at: usize| {
            let text = std::str::from_utf8(bytes.get(at..at + 38)?).ok()?;
            let groups: Vec<&str> = text.split('-').collect();
            let [prefix, groups @ ..] = groups.as_slice() else { return None };
            let is_group =
                |group: &&str| group.len() == 7 && group.chars().all(|c| c.is_ascii_alphanumeric());
            if *prefix != "svctok" || groups.len() != 4 || !groups.iter().all(is_group) {
                return None;
            }
            let follows = bytes.get(at + 38).is_some_and(u8::is_ascii_alphanumeric);
            match Secret::parse(text) {
                Ok((secret, _)) => Some((at, Some(secret.digest()))),
                Err(_) => (!follows).then_some((at, None)),
            }
        };
        (0..bytes.len()).filter_map(at_place).collect()
    }

    #[test]
    fn secret_is_found_wherever_a_reader_would_see_one() {
        let secret = generated();
        for (before, after) in [
            ("", ""),
            ("Authorization: ApiKey ", "\r\n"),
            ("\"token\":\"", "\",\"roles\":[]"),
            ("https://host/?token=", "&x=1"),
            ("https://ci:", "@host/"),
            (r#"{"script":"export T=\n"#, r#"\n"}"#),
            ("TOKEN='", "'"),
            ("\0\0\u{1}", "\0"),
            ("%20", "%20"),
            ("old-", "-new"),
            ("x", "yz0"),
        ] {
            let found = find(format!("{before}{secret}{after}").as_bytes());
            let expected = (before.len(), Encoding::Plain, digest_of(&secret));
            assert_eq!(found, [expected], "{before:?} {after:?}");
        }
    }

    #[test]
    fn wrong_checksum_is_a_candidate_where_the_word_ends_and_no_secret() {
        let wrong = spoiled(&generated());
        let found = find(format!("a {wrong} b").as_bytes());
        assert_eq!(found, [(2, Encoding::Plain, None)]);
        assert_eq!(find(format!("{wrong}x").as_bytes()), []);
    }

    #[test]
    fn what_is_nearly_the_shape_is_none() {
        let secret = generated();
        let cut = |from, to| secret.get(from..to).unwrap();
        for text in [
            cut(0, 37).to_owned(),
            secret.replacen("svctok-", "svctok_", 1),
            secret.replacen("svctok-", "SVCTOK-", 1),
            format!("{}-{}", cut(0, 13), cut(13, 37)),
            "svctok-aaaaa-bbbb-ccccc-ddddd".to_owned(),
            "svctok-0123456-789abcd-efghijk-lmnopq!".to_owned(),
            String::new(),
        ] {
            assert_eq!(find(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn utf16_is_read_in_both_orders() {
        let secret = generated();
        for is_big in [false, true] {
            let bytes = utf16(&format!("key={secret};"), is_big);
            let at = 8 + usize::from(is_big);
            assert_eq!(find(&bytes), [(at, Encoding::Utf16, digest_of(&secret))]);
            let wrong = utf16(&spoiled(&secret), is_big);
            assert_eq!(find(&wrong).first().map(|found| found.2), Some(None));
        }
        let mut torn = utf16(&secret, false);
        torn[31] = b'x';
        assert_eq!(find(&torn), []);
    }

    #[test]
    fn redacted_text_holds_no_secret() {
        let secret = generated();
        for text in [
            secret.clone(),
            spoiled(&secret),
            base64(secret.as_bytes(), false).into_iter().map(char::from).collect(),
        ] {
            let shown = redacted(&format!("é `{text}`, {text}"));
            assert!(!shown.contains(&text) && shown.matches(REDACTED).count() == 2, "{shown}");
        }
        assert_eq!(redacted("svctok-aaaaa-bbbb-ccccc-ddddd"), "svctok-aaaaa-bbbb-ccccc-ddddd");
    }

    #[test]
    fn base64_is_read_at_each_of_its_alignments() {
        let secret = generated();
        for before in ["", "a", "ab", "abc", "ci:", "ab: ", "Bearer of "] {
            for is_url in [false, true] {
                let bytes = base64(format!("{before}{secret} and more\u{ff}\u{fe}").as_bytes(), is_url);
                let at = before.len() / 3 * 4;
                let expected = (at, Encoding::Base64, digest_of(&secret));
                assert_eq!(find(&bytes), [expected], "{before:?}");
                assert_eq!(find(&base64(format!("{before}{secret}").as_bytes(), is_url)), [expected]);
            }
        }
        assert_eq!(
            find(&base64(spoiled(&secret).as_bytes(), false)).first().map(|found| found.2),
            Some(None)
        );
    }

    #[test]
    fn candidates_that_start_at_the_end_or_later_are_left_for_the_next_part() {
        let secret = generated();
        let text = format!("{secret} {secret}");
        let found = |until| Finder::new().find(text.as_bytes(), until).len();
        assert_eq!([found(0), found(1), found(39), found(40)], [0, 1, 1, 2]);
    }

    #[test]
    fn no_candidate_needs_more_than_the_most_bytes() {
        let secret = generated();
        let sizes = [
            secret.len(),
            utf16(&secret, false).len(),
            base64(format!("ab{secret}").as_bytes(), false).len(),
        ];
        assert!(sizes.iter().all(|size| size + 2 <= CANDIDATE_MAX_BYTES), "{sizes:?}");
        assert_eq!(secret.len(), GENERATED_CHARS);
    }

    /// Pieces of text that are whole secrets, wrong ones, parts of them, and what stands around them.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let secret = || any::<u8>().prop_map(|_| generated());
        prop_oneof![
            secret().prop_map(String::into_bytes),
            secret().prop_map(|text| spoiled(&text).into_bytes()),
            (secret(), 0..38_usize).prop_map(|(text, at)| text.as_bytes()[..at].to_vec()),
            (secret(), 0..38_usize).prop_map(|(text, at)| text.as_bytes()[at..].to_vec()),
            "svctok-|svctok|-|[a-z0-9]{1,8}|[\r\n\"' =\\\\]".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    proptest! {
        #[test]
        fn plain_ones_are_those_that_trying_every_place_finds(pieces in prop::collection::vec(piece(), 0..8)) {
            let bytes = pieces.concat();
            let found = find(&bytes).into_iter().filter(|found| found.1 == Encoding::Plain);
            let found: Vec<_> = found.map(|found| (found.0, found.2)).collect();
            prop_assert_eq!(found, reference(&bytes));
        }
    }
}

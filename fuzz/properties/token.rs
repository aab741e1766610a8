//! A secret is known by its shape and its checksum, and what is told of it never shows it.

use rolegate::request::Credential;
use rolegate::token::{RoleName, Secret, SecretError, SecretKind, TokenDigest};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX: &str = "svctok-";
const GROUP_CHARS: usize = 7;
const RANDOM_CHARS: usize = 22;

pub(crate) fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        reads_as_it_stands(text);
        reads_digests_and_names(text);
    }
    tells_changes(data);
}

fn reads_as_it_stands(text: &str) {
    match Secret::parse(text) {
        Ok((secret, kind)) => {
            assert_eq!(secret.expose(), text);
            assert!((20..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(kind == SecretKind::Generated, has_shape(text), "{text:?} is {kind:?}");
            let digest = secret.digest();
            let shown = format!("{:?} {digest:?} {}", Credential::Token(secret, kind), digest.fingerprint());
            assert!(!shown.contains(text), "{shown} shows the secret");
            let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!shown.contains(&hex), "{shown} shows the digest");
            assert_eq!(TokenDigest::from_hex(&hex), Some(digest));
            assert_eq!(TokenDigest::from_hex(&hex.to_uppercase()), Some(digest));
        }
        // An error has no room for the text, so that it cannot show it.
        Err(error) => assert_eq!(error == SecretError::WrongChecksum, has_shape(text), "{text:?}: {error}"),
    }
}

fn reads_digests_and_names(text: &str) {
    if TokenDigest::from_hex(text).is_some() {
        assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text:?}");
    }
    if let Ok(name) = RoleName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/@+".contains(&byte)),
            "{text:?}"
        );
    }
}

fn has_shape(text: &str) -> bool {
    let is_group =
        |group: &str| group.len() == GROUP_CHARS && group.bytes().all(|it| it.is_ascii_alphanumeric());
    text.strip_prefix(PREFIX)
        .is_some_and(|body| body.split('-').count() == 4 && body.split('-').all(is_group))
}

/// A secret of the letters that the data choose is generated; with one letter changed, two swapped, or cut, it is not.
fn tells_changes(data: &[u8]) {
    let letter = |at: usize| {
        let byte = data.get(at).copied().unwrap_or_default();
        ALPHABET.get(usize::from(byte) % ALPHABET.len()).copied().unwrap_or(b'0')
    };
    let random: Vec<u8> = (0..RANDOM_CHARS).map(letter).collect();
    let body = [random.as_slice(), &checksum(&random)].concat();
    let text = grouped(&body);
    assert_eq!(Secret::parse(&text).map(|(_, kind)| kind), Ok(SecretKind::Generated), "{text}");

    let at = usize::from(data.get(RANDOM_CHARS).copied().unwrap_or_default()) % body.len();
    let other = letter(RANDOM_CHARS + 1);
    let changed: Vec<u8> =
        body.iter().enumerate().map(|(place, it)| if place == at { other } else { *it }).collect();
    is_told(&body, &changed);
    let mut swapped = body.clone();
    // Among the random letters alone, where the checksum tells every such change.
    swapped.swap(at % (RANDOM_CHARS - 1), at % (RANDOM_CHARS - 1) + 1);
    is_told(&body, &swapped);

    let cut: String = text.chars().take(at + PREFIX.len()).collect();
    assert_ne!(Secret::parse(&cut).map(|(_, kind)| kind), Ok(SecretKind::Generated), "{cut}");
}

fn is_told(body: &[u8], changed: &[u8]) {
    let text = grouped(changed);
    let expected = if body == changed { Ok(SecretKind::Generated) } else { Err(SecretError::WrongChecksum) };
    assert_eq!(Secret::parse(&text).map(|(_, kind)| kind), expected, "{text}");
}

fn grouped(body: &[u8]) -> String {
    let groups: Vec<_> =
        body.chunks(GROUP_CHARS).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    format!("{PREFIX}{}", groups.join("-"))
}

/// CRC-32 of ISO-HDLC, bit by bit, in base 62.
fn checksum(random: &[u8]) -> [u8; 6] {
    let mut sum = u32::MAX;
    for byte in PREFIX.bytes().chain(random.iter().copied()) {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    let mut rest = !sum;
    let mut letters = [b'0'; 6];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    letters
}

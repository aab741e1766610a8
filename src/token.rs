//! Tokens: the secret that is shown once, the digest that is kept, and who a live token is.

#[cfg(feature = "server")]
pub mod candidates;
mod foreign;
mod state;

pub(crate) use foreign::check_realm;
pub use foreign::{ForeignId, ForeignIdError, PrincipalId, REALM_MAX_CHARS, SUBJECT_MAX_CHARS};
pub use state::SecretState;

use crate::time::Timestamp;
use rand::{TryRng, rngs::SysRng};
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What every generated secret starts with.
const PREFIX: &str = "svctok-";
/// Random characters of a generated secret: 62^22 is about 2^130.9.
const RANDOM_CHARS: usize = 22;
/// Characters of the checksum: 62^6 is more than 2^32.
const CHECKSUM_CHARS: usize = 6;
/// The characters after the prefix stand in four groups of seven.
const GROUP_CHARS: usize = 7;
const BODY_CHARS: usize = RANDOM_CHARS + CHECKSUM_CHARS;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The shortest secret that an operator may choose, in characters.
pub const CHOSEN_SECRET_MIN_CHARS: usize = 20;
/// The longest secret that is looked at at all, in characters.
pub const SECRET_MAX_CHARS: usize = 256;
/// The longest token name, in bytes of UTF-8.
pub const NAME_MAX_BYTES: usize = 256;
/// The longest role name, in characters.
pub const ROLE_NAME_MAX_CHARS: usize = 128;
/// The most roles that one token may hold.
pub const ROLES_PER_TOKEN_MAX: usize = 64;

/// After so long, new ids stand among those of the beginning again.
const ID_CYCLE_MS: i64 = 3_600_000;
/// So many ids there are for each millisecond. Of 100 tokens created within one, two have the same id in 50,000 cases.
const IDS_PER_MS: u64 = (TokenId::MAX - TokenId::MIN + 1) / ID_CYCLE_MS.cast_unsigned();

/// The text of a token. It is shown once, when the token is created, and never printed by accident:
/// there is no `Debug` and no `Display`, and its memory is wiped when it is dropped.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a secret must not be printable")]
pub struct Secret(Zeroizing<String>);

/// Why a text cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Shorter than an operator may choose.
    #[error("a token needs at least {CHOSEN_SECRET_MIN_CHARS} characters")]
    TooShort,
    /// Longer than any token.
    #[error("a token has at most {SECRET_MAX_CHARS} characters")]
    TooLong,
    /// A character other than visible ASCII, or a comma, which would split a header.
    #[error("a token consists of visible ASCII characters without spaces and commas")]
    BadCharacter,
    /// The exact shape of a generated token, but the checksum does not agree.
    #[error("this has the form of a generated token, but its checksum is wrong: it was mistyped or made up")]
    WrongChecksum,
}

/// How a well-formed secret came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// Made by [`Secret::generate`]: random, with a checksum.
    Generated,
    /// Chosen by an operator, in any form.
    Chosen,
}

/// The SHA-256 of a secret: what is kept of it. Equality takes the same time whatever differs.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

/// A token's number: 15 decimal digits, below 2^53 so that every JSON reader keeps it whole. Not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(u64);

/// The name of a token. A clone asks the heap for nothing, and a name of at most 23 bytes never did.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName(SmolStr);

/// The name of a role, such as `stackstate-power-user`. Case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(SmolStr);

/// Why a text is not a role's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoleNameError {
    /// No characters at all.
    #[error("a role needs a name")]
    Empty,
    /// Longer than a role's name may be.
    #[error("a role's name has at most {ROLE_NAME_MAX_CHARS} characters")]
    TooLong,
    /// A character that would be read differently in a header, a list or a log line.
    #[error("a role's name consists of letters, digits and `-_.:/@+`")]
    BadCharacter,
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenOrigin {
    /// Created through the API.
    Api,
    /// The bootstrap token of the configuration.
    Bootstrap,
    /// Declared by digest in the configuration.
    Declared,
}

/// All that is known of a token; the secret is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The token's number.
    pub id: TokenId,
    /// What is kept of the secret.
    pub digest: TokenDigest,
    /// How the secret came to be.
    pub kind: SecretKind,
    /// Where the token comes from.
    pub origin: TokenOrigin,
    /// The name it was given; names may repeat.
    pub name: String,
    /// Free text about it.
    pub description: Option<String>,
    /// The roles it holds.
    pub roles: Vec<RoleName>,
    /// A subject that exists for this token alone, as the wire contract knows it.
    pub dedicated_subject: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// The first moment at which it is no longer live; `None` is never.
    pub expires: Option<Timestamp>,
    /// Since when it is disabled; `None` while it is not.
    pub disabled: Option<Timestamp>,
    /// The secret that it had before, while that one lives on.
    pub former: Option<FormerSecret>,
}

/// A secret that was replaced and lives on for a while, so that a client can change over. A token has at most
/// one: its next rotation ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerSecret {
    /// What is kept of the secret.
    pub digest: TokenDigest,
    /// How the secret came to be.
    pub kind: SecretKind,
    /// The first moment at which it is refused; never past the token's own expiry.
    pub expires: Timestamp,
}

/// Who a live token is, or somebody whom an authenticator of the embedding program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// By what it is known: a token by its number.
    pub id: PrincipalId,
    /// The token's name; of others, what they are known by.
    pub name: TokenName,
    /// The roles it holds, as they were given to it.
    pub roles: Arc<[RoleName]>,
    /// When the token was created; of others, when they were authenticated.
    pub created: Timestamp,
}

impl Secret {
    /// A new secret, from the operating system's random source.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> Result<Self, rand::rngs::SysError> {
        let mut body = Zeroizing::new(Vec::with_capacity(BODY_CHARS));
        let mut bytes = Zeroizing::new([0_u8; 64]);
        while body.len() < RANDOM_CHARS {
            SysRng.try_fill_bytes(bytes.as_mut_slice())?;
            // Values from 248 on are dropped: 256 is no multiple of 62, and they would favour some letters.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let letters = fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
            let missing = RANDOM_CHARS - body.len();
            body.extend(letters.take(missing));
        }
        let check = checksum(&body);
        body.extend(check);

        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + BODY_CHARS + 3));
        text.push_str(PREFIX);
        for (at, letter) in body.iter().enumerate() {
            if at > 0 && at % GROUP_CHARS == 0 {
                text.push('-');
            }
            text.push(char::from(*letter));
        }
        Ok(Self(text))
    }

    /// Reads a secret that an operator chose or a client presented.
    ///
    /// # Errors
    /// When the text cannot be a secret; see [`SecretError`].
    pub fn parse(text: &str) -> Result<(Self, SecretKind), SecretError> {
        let kind = kind_of(text)?;
        Ok((Self(Zeroizing::new(text.to_owned())), kind))
    }

    /// What is kept of this secret.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The secret itself. Whoever calls this must not log what it returns.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A simple estimate of how hard the secret is to guess, in bits: characters times the logarithm of
    /// the character classes in use, counting each distinct character at most three times.
    pub fn estimated_bits(&self) -> f64 {
        let text = self.0.as_bytes();
        let has = |class: fn(&u8) -> bool| text.iter().any(class);
        let classes = [
            (has(u8::is_ascii_lowercase), 26.0),
            (has(u8::is_ascii_uppercase), 26.0),
            (has(u8::is_ascii_digit), 10.0),
            (has(u8::is_ascii_punctuation), 32.0),
        ];
        let letters: f64 = classes.iter().filter(|(used, _)| *used).map(|(_, size)| size).sum();
        let mut counted: f64 = 0.0;
        for letter in 0..=u8::MAX {
            let times = u8::try_from(text.iter().filter(|byte| **byte == letter).count()).unwrap_or(u8::MAX);
            counted += f64::from(times.min(3));
        }
        counted * letters.max(1.0).log2()
    }
}

/// Whether `text` can be a secret, and of which kind; decided without a look-up.
fn kind_of(text: &str) -> Result<SecretKind, SecretError> {
    if text.len() > SECRET_MAX_CHARS {
        return Err(SecretError::TooLong);
    }
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b',') {
        return Err(SecretError::BadCharacter);
    }
    if text.len() < CHOSEN_SECRET_MIN_CHARS {
        return Err(SecretError::TooShort);
    }
    match generated_body(text) {
        None => Ok(SecretKind::Chosen),
        Some(body) => {
            let (random, check) = body.split_at(RANDOM_CHARS);
            if checksum(random).as_slice() == check {
                Ok(SecretKind::Generated)
            } else {
                Err(SecretError::WrongChecksum)
            }
        }
    }
}

/// The letters of a text that has the exact shape of a generated secret.
fn generated_body(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let groups: Vec<&str> = text.strip_prefix(PREFIX)?.split('-').collect();
    let shaped = groups.len() == BODY_CHARS / GROUP_CHARS
        && groups
            .iter()
            .all(|group| group.len() == GROUP_CHARS && group.bytes().all(|b| b.is_ascii_alphanumeric()));
    shaped.then(|| Zeroizing::new(groups.concat().into_bytes()))
}

/// CRC-32 (ISO-HDLC) over the prefix and the random letters, written in base 62.
fn checksum(random: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(PREFIX.as_bytes());
    hasher.update(random);
    let mut rest = hasher.finalize();
    let mut letters = [b'0'; CHECKSUM_CHARS];
    for letter in letters.iter_mut().rev() {
        if let Some(digit) = ALPHABET.get((rest % 62) as usize) {
            *letter = *digit;
        }
        rest /= 62;
    }
    letters
}

impl TokenDigest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).ok()?;
            // `from_str_radix` takes a sign, which is no digit.
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits: enough to recognise a token in a log, too few to be of other use.
    pub fn fingerprint(&self) -> String {
        self.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        // All differences are gathered before any is looked at, eight bytes at a time.
        let (own, others) = (self.0.as_chunks::<8>().0, other.0.as_chunks::<8>().0);
        let differences = own.iter().zip(others).fold(0, |differences, (one, other)| {
            differences | (u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other))
        });
        differences.ct_eq(&0).into()
    }
}

impl Eq for TokenDigest {}

impl std::hash::Hash for TokenDigest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // All digests are of one length, which need not be hashed with them.
        state.write(&self.0);
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDigest({}…)", self.fingerprint())
    }
}

impl TokenId {
    /// The smallest number that a token gets.
    pub const MIN: u64 = 100_000_000_000_000;
    /// The largest number that a token gets.
    pub const MAX: u64 = 999_999_999_999_999;

    /// The smallest id.
    pub const LEAST: Self = Self(Self::MIN);

    /// The id with this number; `None` when it has not 15 digits.
    pub fn new(number: u64) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// A random id for a token that is created now. Those of one moment stand close together, so that a store that keeps
    /// tokens by their ids has few places to write to when many are created at once. Over an hour they go once through
    /// all numbers: none is taken more often than another. Whether it is free is for the store to say.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate_at(now: Timestamp) -> Result<Self, rand::rngs::SysError> {
        let moment = now.as_millis().rem_euclid(ID_CYCLE_MS).cast_unsigned();
        Ok(Self(Self::MIN + moment * IDS_PER_MS + SysRng.try_next_u64()? % IDS_PER_MS))
    }

    /// A random id among all of them, for a token of any time.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> Result<Self, rand::rngs::SysError> {
        let span = Self::MAX - Self::MIN + 1;
        // The bias of the remainder is below 2^-14, and an id is no secret.
        Ok(Self(Self::MIN + SysRng.try_next_u64()? % span))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::ops::Deref for TokenName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TokenName {
    fn from(name: &str) -> Self {
        Self(SmolStr::new(name))
    }
}

impl From<String> for TokenName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Debug for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl RoleName {
    /// Reads the name of a role.
    ///
    /// # Errors
    /// When the text is empty, too long, or has a character that no role's name has.
    pub fn parse(text: &str) -> Result<Self, RoleNameError> {
        if text.is_empty() {
            return Err(RoleNameError::Empty);
        }
        if text.len() > ROLE_NAME_MAX_CHARS {
            return Err(RoleNameError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b)) {
            return Err(RoleNameError::BadCharacter);
        }
        Ok(Self(SmolStr::new(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for RoleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TokenRecord {
    /// Who this token is while it lives.
    pub fn principal(&self) -> Principal {
        Principal {
            id: self.id.into(),
            name: TokenName::from(self.name.as_str()),
            roles: Arc::from(self.roles.as_slice()),
            created: self.created,
        }
    }

    /// Whether the token has expired at `now`. It lives up to the millisecond before its expiry.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Every digest by which the token may be found: its own, and that of its former secret.
    pub fn digests(&self) -> impl Iterator<Item = TokenDigest> {
        std::iter::once(self.digest).chain(self.former.map(|former| former.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated() -> String {
        Secret::generate().unwrap().expose().to_owned()
    }

    #[test]
    fn generated_secret_has_four_groups_and_a_checksum() {
        let text = generated();
        let groups: Vec<_> = text.strip_prefix("svctok-").unwrap().split('-').map(str::len).collect();
        assert_eq!(groups, [7, 7, 7, 7]);
        assert_eq!(Secret::parse(&text).unwrap().1, SecretKind::Generated);
    }

    #[test]
    fn every_single_changed_letter_is_told_by_the_checksum() {
        let text = generated();
        for at in PREFIX.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            if changed[at] == b'-' {
                continue;
            }
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Secret::parse(&changed).err(), Some(SecretError::WrongChecksum));
        }
    }

    #[test]
    fn generated_secrets_differ() {
        let many: std::collections::HashSet<_> = (0..1000).map(|_| generated()).collect();
        assert_eq!(many.len(), 1000);
    }

    #[test]
    fn chosen_secret_of_twenty_visible_characters_is_accepted() {
        assert_eq!(Secret::parse(&"x".repeat(20)).map(|(_, kind)| kind).ok(), Some(SecretKind::Chosen));
        assert_eq!(Secret::parse("svctok-aaaaa-bbbb-ccccc-ddddd").unwrap().1, SecretKind::Chosen);
        assert_eq!(Secret::parse(&"x".repeat(256)).map(|(_, kind)| kind).ok(), Some(SecretKind::Chosen));
    }

    #[test]
    fn chosen_secret_outside_the_limits_is_refused() {
        assert_eq!(Secret::parse(&"x".repeat(19)).err(), Some(SecretError::TooShort));
        assert_eq!(Secret::parse(&"x".repeat(257)).err(), Some(SecretError::TooLong));
        for bad in ["has a space in the middle", "has,a,comma,in,the,middle", "umlaut-ä-in-the-middle-x"] {
            assert_eq!(Secret::parse(bad).err(), Some(SecretError::BadCharacter), "{bad}");
        }
    }

    #[test]
    fn digest_reads_what_it_writes_and_nothing_else() {
        let digest = Secret::parse(&"x".repeat(20)).unwrap().0.digest();
        let hex: String = digest.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(TokenDigest::from_hex(&hex), Some(digest));
        assert_eq!(TokenDigest::from_hex(hex.get(1..).unwrap()), None);
        assert_eq!(TokenDigest::from_hex(&format!("+f{}", hex.get(2..).unwrap())), None);
    }

    #[test]
    fn token_id_has_fifteen_digits() {
        for _ in 0..1000 {
            assert_eq!(TokenId::generate().unwrap().to_string().len(), 15);
        }
        assert_eq!(TokenId::new(99_999_999_999_999), None);
        assert_eq!(TokenId::new(1_000_000_000_000_000), None);
        assert!(TokenId::new(107_484_341_630_693).is_some());
    }

    #[test]
    fn ids_of_one_moment_stand_together_and_those_of_an_hour_are_everywhere() {
        let at = |millis| TokenId::generate_at(Timestamp::from_millis(millis)).unwrap().get();
        for millis in [0, 1, -1, 1_234_567, i64::MIN, i64::MAX] {
            let start = TokenId::MIN + millis.rem_euclid(ID_CYCLE_MS).cast_unsigned() * IDS_PER_MS;
            let ids: Vec<u64> = (0..100).map(|_| at(millis)).collect();
            assert!(ids.iter().all(|id| (start..start + IDS_PER_MS).contains(id)), "{millis}: {ids:?}");
            assert!(ids.iter().any(|id| *id != ids[0]), "they are random");
        }
        assert!(at(0) < at(1) && at(1) < at(ID_CYCLE_MS - 1));
        assert!(at(ID_CYCLE_MS) < at(1));
        assert_eq!(TokenId::MIN + ID_CYCLE_MS.cast_unsigned() * IDS_PER_MS, TokenId::MAX + 1);
    }

    #[test]
    fn short_name_asks_the_heap_for_nothing_and_a_long_one_only_once() {
        for (bytes, allocations) in [(0, 0), (23, 0), (24, 1), (NAME_MAX_BYTES, 1)] {
            let text = "n".repeat(bytes);
            let made = allocation_counter::measure(|| drop(TokenName::from(text.as_str())));
            assert_eq!(made.count_total, allocations, "{bytes} bytes");
            let name = TokenName::from(text.clone());
            assert_eq!(allocation_counter::measure(|| drop(name.clone())).count_total, 0, "{bytes} bytes");
            assert_eq!((&*name, format!("{name} {name:?}")), (&*text, format!("{text} {text:?}")));
        }
    }

    #[test]
    fn token_expires_at_its_millisecond_and_not_before() {
        let mut record = TokenRecord {
            id: TokenId::generate().unwrap(),
            digest: TokenDigest::from_bytes([0; 32]),
            kind: SecretKind::Chosen,
            origin: TokenOrigin::Api,
            name: "n".into(),
            description: None,
            roles: Vec::new(),
            dedicated_subject: None,
            disabled: None,
            former: None,
            created: Timestamp::EPOCH,
            updated: Timestamp::EPOCH,
            expires: Some(Timestamp::from_millis(1000)),
        };
        assert!(!record.is_expired(Timestamp::from_millis(999)));
        assert!(record.is_expired(Timestamp::from_millis(1000)));
        record.expires = None;
        assert!(!record.is_expired(Timestamp::from_millis(i64::MAX)));
    }

    #[test]
    fn repeated_letters_count_little_towards_strength() {
        let weak = Secret::parse(&"a".repeat(64)).unwrap().0;
        assert!(weak.estimated_bits() < 128.0);
        let (strong, _) = Secret::parse(&generated()).unwrap();
        assert!(strong.estimated_bits() >= 128.0);
    }
}

//! How one token is written: a version, then its fields in order, numbers little-endian, texts with their length.

use crate::store::LentToken;
use crate::time::Timestamp;
use crate::token::{FormerSecret, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use std::collections::HashMap;

/// The version of the encoding, its first byte.
const VERSION: u8 = 2;
/// The version before: without what comes after the roles.
const VERSION_WITHOUT_STATE: u8 = 1;
/// How many sets of roles a reader of many rows keeps, before it starts anew.
const KNOWN_ROLES_MAX: usize = 4096;

/// Writes all of a token but its id, which is the key.
pub(super) fn encode(record: &TokenRecord) -> Vec<u8> {
    let mut row = Vec::with_capacity(128);
    row.push(VERSION);
    row.extend_from_slice(record.digest.as_bytes());
    row.push(kind_byte(record.kind));
    row.push(match record.origin {
        TokenOrigin::Api => 0,
        TokenOrigin::Bootstrap => 1,
        TokenOrigin::Declared => 2,
    });
    row.extend_from_slice(&record.created.as_millis().to_le_bytes());
    row.extend_from_slice(&record.updated.as_millis().to_le_bytes());
    row.push(u8::from(record.expires.is_some()));
    if let Some(expires) = record.expires {
        row.extend_from_slice(&expires.as_millis().to_le_bytes());
    }
    put_text(&mut row, &record.name);
    for optional in [&record.description, &record.dedicated_subject] {
        row.push(u8::from(optional.is_some()));
        if let Some(text) = optional {
            put_text(&mut row, text);
        }
    }
    put_length(&mut row, record.roles.len());
    record.roles.iter().for_each(|role| put_text(&mut row, role.as_str()));
    row.push(u8::from(record.disabled.is_some()));
    if let Some(disabled) = record.disabled {
        row.extend_from_slice(&disabled.as_millis().to_le_bytes());
    }
    row.push(u8::from(record.former.is_some()));
    if let Some(former) = record.former {
        row.extend_from_slice(former.digest.as_bytes());
        row.push(kind_byte(former.kind));
        row.extend_from_slice(&former.expires.as_millis().to_le_bytes());
    }
    row
}

/// Reads a token; the error says what does not fit.
pub(super) fn decode(id: u64, row: &[u8]) -> Result<TokenRecord, String> {
    RowReader::default().read(id, row).map(|token| token.to_record())
}

/// Reads tokens one after another. Most of them have the roles of one before, and those are made once.
#[derive(Default)]
pub(super) struct RowReader {
    /// Sets of roles, by the bytes that they are written in.
    known: HashMap<Box<[u8]>, Vec<RoleName>>,
}

impl RowReader {
    /// Reads a token; the error says what does not fit.
    pub(super) fn read<'a>(&'a mut self, id: u64, row: &'a [u8]) -> Result<LentToken<'a>, String> {
        let mut reader = Reader(row);
        let has_state = match reader.byte() {
            Some(VERSION) => true,
            Some(VERSION_WITHOUT_STATE) => false,
            Some(other) => return Err(format!("the row of token {id} has the unknown version {other}")),
            None => return Err(format!("the row of token {id} is empty")),
        };
        let token = reader.token(id, has_state, self).filter(|_| reader.0.is_empty());
        token.ok_or_else(|| format!("the row of token {id} cannot be read"))
    }

    /// The roles that are written in these bytes.
    fn roles(&mut self, bytes: &[u8]) -> Option<&[RoleName]> {
        // Looked up twice, since the first answer may not be given back from within its own condition.
        if !self.known.contains_key(bytes) {
            let roles = Reader(bytes).roles()?;
            if self.known.len() >= KNOWN_ROLES_MAX {
                self.known.clear();
            }
            self.known.insert(bytes.into(), roles);
        }
        self.known.get(bytes).map(Vec::as_slice)
    }
}

const fn kind_byte(kind: SecretKind) -> u8 {
    match kind {
        SecretKind::Generated => 0,
        SecretKind::Chosen => 1,
    }
}

pub(super) fn put_length(row: &mut Vec<u8>, length: usize) {
    // What has four billion bytes was refused long before it came here.
    row.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn put_text(row: &mut Vec<u8>, text: &str) {
    put_length(row, text.len());
    row.extend_from_slice(text.as_bytes());
}

/// What is left to read of a row; every method is `None` when too little is left.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn token<'t>(&mut self, id: u64, has_state: bool, rows: &'t mut RowReader) -> Option<LentToken<'t>>
    where
        'a: 't,
    {
        Some(LentToken {
            id: TokenId::new(id)?,
            digest: TokenDigest::from_bytes(self.array()?),
            kind: self.kind()?,
            origin: match self.byte()? {
                0 => TokenOrigin::Api,
                1 => TokenOrigin::Bootstrap,
                2 => TokenOrigin::Declared,
                _ => return None,
            },
            created: self.time()?,
            updated: self.time()?,
            expires: self.optional(Reader::time)?,
            name: self.text()?,
            description: self.optional(Reader::text)?,
            dedicated_subject: self.optional(Reader::text)?,
            roles: rows.roles(self.role_bytes()?)?,
            disabled: if has_state { self.optional(Reader::time)? } else { None },
            former: if has_state { self.optional(Reader::former)? } else { None },
        })
    }

    fn former(&mut self) -> Option<FormerSecret> {
        let (digest, kind) = (TokenDigest::from_bytes(self.array()?), self.kind()?);
        Some(FormerSecret { digest, kind, expires: self.time()? })
    }

    fn kind(&mut self) -> Option<SecretKind> {
        match self.byte()? {
            0 => Some(SecretKind::Generated),
            1 => Some(SecretKind::Chosen),
            _ => None,
        }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.array().map(|bytes| Timestamp::from_millis(i64::from_le_bytes(bytes)))
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// The bytes of the roles, their number among them.
    fn role_bytes(&mut self) -> Option<&'a [u8]> {
        let start = self.0;
        for _ in 0..self.length()? {
            let length = self.length()?;
            self.0 = self.0.get(length..)?;
        }
        start.get(..start.len().checked_sub(self.0.len())?)
    }

    fn roles(&mut self) -> Option<Vec<RoleName>> {
        // No room is set aside for the length that the row claims: it may be anything.
        let length = self.length()?;
        (0..length).map(|_| RoleName::parse(self.text()?).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = TokenRecord> {
        let enums = (any::<bool>(), 0..3_u8);
        let texts = (".*", proptest::option::of(".*"), proptest::option::of(".*"));
        let times = (any::<i64>(), any::<i64>(), proptest::option::of(any::<i64>()));
        let roles = proptest::collection::vec("[a-z]{1,20}", 0..5);
        let keys = (TokenId::MIN..=TokenId::MAX, any::<[u8; 32]>());
        let former = proptest::option::of((any::<[u8; 32]>(), any::<bool>(), any::<i64>()));
        let state = (proptest::option::of(any::<i64>()), former);
        let kind = |is_generated| if is_generated { SecretKind::Generated } else { SecretKind::Chosen };
        (keys, enums, texts, times, roles, state).prop_map(
            move |(keys, enums, texts, times, roles, state)| TokenRecord {
                id: TokenId::new(keys.0).unwrap(),
                digest: TokenDigest::from_bytes(keys.1),
                kind: kind(enums.0),
                origin: [TokenOrigin::Api, TokenOrigin::Bootstrap, TokenOrigin::Declared]
                    [usize::from(enums.1)],
                name: texts.0,
                description: texts.1,
                dedicated_subject: texts.2,
                created: Timestamp::from_millis(times.0),
                updated: Timestamp::from_millis(times.1),
                expires: times.2.map(Timestamp::from_millis),
                roles: roles.iter().map(|role| RoleName::parse(role).unwrap()).collect(),
                disabled: state.0.map(Timestamp::from_millis),
                former: state.1.map(|(digest, is_generated, expires)| FormerSecret {
                    digest: TokenDigest::from_bytes(digest),
                    kind: kind(is_generated),
                    expires: Timestamp::from_millis(expires),
                }),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in records()) {
            let row = encode(&record);
            prop_assert_eq!(decode(record.id.get(), &row), Ok(record));
        }

        #[test]
        fn row_of_the_version_before_is_read(record in records()) {
            let record = TokenRecord { disabled: None, former: None, ..record };
            let mut row = encode(&record);
            row.truncate(row.len() - 2);
            row[0] = VERSION_WITHOUT_STATE;
            prop_assert_eq!(decode(record.id.get(), &row), Ok(record));
        }

        #[test]
        fn cut_or_lengthened_row_is_refused(record in records(), cut in any::<prop::sample::Index>()) {
            let mut row = encode(&record);
            prop_assert!(decode(record.id.get(), &row[..cut.index(row.len())]).is_err());
            row.push(0);
            prop_assert!(decode(record.id.get(), &row).is_err());
        }

        #[test]
        fn no_bytes_make_reading_panic(row in proptest::collection::vec(any::<u8>(), 0..200), id in any::<u64>()) {
            let _ = decode(id, &row);
            let mut versioned = vec![VERSION];
            versioned.extend(row);
            let _ = decode(id, &versioned);
        }
    }

    #[test]
    fn row_of_another_version_is_refused() {
        let error = decode(TokenId::MIN, &[9]).unwrap_err();
        assert_eq!(error, "the row of token 100000000000000 has the unknown version 9");
        assert_eq!(decode(TokenId::MIN, &[]).unwrap_err(), "the row of token 100000000000000 is empty");
    }
}

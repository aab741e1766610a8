//! By what a principal is known: a service token of the store, or a name that an authenticator of the embedding
//! program vouches for. The one is never taken for the other.

use super::TokenId;
use std::fmt;
use std::sync::Arc;

/// The longest realm, in characters.
pub const REALM_MAX_CHARS: usize = 32;
/// The longest subject, in characters.
pub const SUBJECT_MAX_CHARS: usize = 256;

/// By what a principal is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalId {
    /// A service token of the store.
    Token(TokenId),
    /// Somebody whom an authenticator of the embedding program knows.
    Foreign(ForeignId),
}

/// Somebody whom an authenticator knows: its realm, a colon and the subject, such as `workload:ci/deploy`. The realm
/// begins with a letter, so that this never reads as a token's number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForeignId(Arc<str>);

/// Why a text is no part of a [`ForeignId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignIdError {
    /// Not the name of a realm.
    #[error(
        "a realm has at most {REALM_MAX_CHARS} characters: a lower-case letter, and then such letters, digits and `-`"
    )]
    Realm,
    /// Not the name of a subject.
    #[error("a subject has 1 to {SUBJECT_MAX_CHARS} characters, all of them visible ASCII")]
    Subject,
}

impl PrincipalId {
    /// The token's number; `None` for whoever has no token of the store.
    pub const fn token(&self) -> Option<TokenId> {
        match self {
            Self::Token(id) => Some(*id),
            Self::Foreign(_) => None,
        }
    }

    /// Who it is by an authenticator of the program; `None` for a token of the store.
    pub const fn foreign(&self) -> Option<&ForeignId> {
        match self {
            Self::Token(_) => None,
            Self::Foreign(id) => Some(id),
        }
    }
}

impl ForeignId {
    /// The subject of this name in this realm.
    ///
    /// # Errors
    /// When one of them is not as [`ForeignIdError`] says it must be.
    pub fn new(realm: &str, subject: &str) -> Result<Self, ForeignIdError> {
        check_realm(realm)?;
        let is_subject = (1..=SUBJECT_MAX_CHARS).contains(&subject.len())
            && subject.bytes().all(|byte| byte.is_ascii_graphic());
        if is_subject { Ok(Self(format!("{realm}:{subject}").into())) } else { Err(ForeignIdError::Subject) }
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    ///
    /// # Errors
    /// When it did not write this.
    pub fn parse(text: &str) -> Result<Self, ForeignIdError> {
        let (realm, subject) = text.split_once(':').ok_or(ForeignIdError::Realm)?;
        Self::new(realm, subject)
    }

    /// The whole text: realm, colon and subject.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which authenticator knows it.
    pub fn realm(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(realm, _)| realm)
    }

    /// Whom it knows.
    pub fn subject(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, subject)| subject)
    }
}

/// Refuses what no realm is called.
pub(crate) fn check_realm(realm: &str) -> Result<(), ForeignIdError> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_realm = realm.len() <= REALM_MAX_CHARS
        && realm.starts_with(|first: char| first.is_ascii_lowercase())
        && realm.bytes().all(is_word);
    if is_realm { Ok(()) } else { Err(ForeignIdError::Realm) }
}

impl From<TokenId> for PrincipalId {
    fn from(id: TokenId) -> Self {
        Self::Token(id)
    }
}

impl From<ForeignId> for PrincipalId {
    fn from(id: ForeignId) -> Self {
        Self::Foreign(id)
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => id.fmt(f),
            Self::Foreign(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for ForeignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ForeignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_id_is_read_as_it_was_written() {
        let id = ForeignId::new("workload", "ns:ci/deploy@x").unwrap();
        assert_eq!((id.as_str(), id.realm()), ("workload:ns:ci/deploy@x", "workload"));
        assert_eq!(id.subject(), "ns:ci/deploy@x");
        assert_eq!(ForeignId::parse(id.as_str()), Ok(id));
    }

    #[test]
    fn realms_and_subjects_are_taken_up_to_their_limits_and_not_past_them() {
        let new = |realm: usize, subject: usize| ForeignId::new(&"r".repeat(realm), &"s".repeat(subject));
        assert!(new(REALM_MAX_CHARS, SUBJECT_MAX_CHARS).is_ok());
        assert_eq!(new(REALM_MAX_CHARS + 1, 1), Err(ForeignIdError::Realm));
        assert_eq!(new(1, SUBJECT_MAX_CHARS + 1), Err(ForeignIdError::Subject));
        assert_eq!((new(0, 1), new(1, 0)), (Err(ForeignIdError::Realm), Err(ForeignIdError::Subject)));
    }

    #[test]
    fn nothing_that_could_be_a_number_or_break_a_line_is_taken() {
        for realm in ["1", "100000000000000", "Mtls", "m tls", "m:x", "m_x", "ä", "-m"] {
            assert_eq!(ForeignId::new(realm, "x"), Err(ForeignIdError::Realm), "{realm}");
        }
        for subject in ["a b", "a\n", "ä", "\u{7f}", " "] {
            assert_eq!(ForeignId::new("m", subject), Err(ForeignIdError::Subject), "{subject:?}");
        }
        assert_eq!(ForeignId::parse("100000000000000"), Err(ForeignIdError::Realm));
        assert_eq!(ForeignId::parse("m"), Err(ForeignIdError::Realm));
    }

    #[test]
    fn token_and_foreign_principal_are_never_equal() {
        let token = PrincipalId::from(TokenId::LEAST);
        let foreign = PrincipalId::from(ForeignId::new("m", &TokenId::LEAST.to_string()).unwrap());
        assert_ne!(token, foreign);
        assert_ne!(token.to_string(), foreign.to_string());
        assert_eq!((token.token(), foreign.token()), (Some(TokenId::LEAST), None));
    }
}

//! A token's record as a store lends it while it is loaded: so that ten million of them are read without a copy.

use crate::time::Timestamp;
use crate::token::{FormerSecret, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};

/// All that is known of a token, lent. The fields are those of [`TokenRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentToken<'a> {
    /// The token's number.
    pub id: TokenId,
    /// What is kept of the secret.
    pub digest: TokenDigest,
    /// How the secret came to be.
    pub kind: SecretKind,
    /// Where the token comes from.
    pub origin: TokenOrigin,
    /// The name it was given.
    pub name: &'a str,
    /// Free text about it.
    pub description: Option<&'a str>,
    /// The roles it holds.
    pub roles: &'a [RoleName],
    /// A subject that exists for this token alone.
    pub dedicated_subject: Option<&'a str>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// The first moment at which it is no longer live.
    pub expires: Option<Timestamp>,
    /// Since when it is disabled.
    pub disabled: Option<Timestamp>,
    /// The secret that it had before, while that one lives on.
    pub former: Option<FormerSecret>,
}

impl LentToken<'_> {
    /// A copy to keep.
    pub fn to_record(&self) -> TokenRecord {
        TokenRecord {
            id: self.id,
            digest: self.digest,
            kind: self.kind,
            origin: self.origin,
            name: self.name.to_owned(),
            description: self.description.map(str::to_owned),
            roles: self.roles.to_vec(),
            dedicated_subject: self.dedicated_subject.map(str::to_owned),
            created: self.created,
            updated: self.updated,
            expires: self.expires,
            disabled: self.disabled,
            former: self.former,
        }
    }
}

impl<'a> From<&'a TokenRecord> for LentToken<'a> {
    fn from(record: &'a TokenRecord) -> Self {
        Self {
            id: record.id,
            digest: record.digest,
            kind: record.kind,
            origin: record.origin,
            name: &record.name,
            description: record.description.as_deref(),
            roles: &record.roles,
            dedicated_subject: record.dedicated_subject.as_deref(),
            created: record.created,
            updated: record.updated,
            expires: record.expires,
            disabled: record.disabled,
            former: record.former,
        }
    }
}

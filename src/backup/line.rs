//! One line, in the words of the file.

use crate::time::Timestamp;
use crate::token::{FormerSecret, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use serde::{Deserialize, Serialize};

/// A token. Times are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TokenLine {
    id: u64,
    digest: String,
    kind: Kind,
    origin: Origin,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedicated_subject: Option<String>,
    created: i64,
    updated: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disabled: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<FormerLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormerLine {
    digest: String,
    kind: Kind,
    expires: i64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Generated,
    Chosen,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Origin {
    Api,
    Bootstrap,
    Declared,
}

impl TokenLine {
    /// The token of the line; the error names the field that cannot be so, and repeats nothing of it.
    pub(crate) fn to_record(&self) -> Result<TokenRecord, &'static str> {
        let roles = self.roles.iter().map(|role| RoleName::parse(role).map_err(|_| "roles"));
        Ok(TokenRecord {
            id: TokenId::new(self.id).ok_or("id")?,
            digest: TokenDigest::from_hex(&self.digest).ok_or("digest")?,
            kind: self.kind.into(),
            origin: match self.origin {
                Origin::Api => TokenOrigin::Api,
                Origin::Bootstrap => TokenOrigin::Bootstrap,
                Origin::Declared => TokenOrigin::Declared,
            },
            name: self.name.clone(),
            description: self.description.clone(),
            roles: roles.collect::<Result<_, _>>()?,
            dedicated_subject: self.dedicated_subject.clone(),
            created: Timestamp::from_millis(self.created),
            updated: Timestamp::from_millis(self.updated),
            expires: self.expires.map(Timestamp::from_millis),
            disabled: self.disabled.map(Timestamp::from_millis),
            former: self.former.as_ref().map(FormerLine::to_former).transpose()?,
        })
    }
}

impl FormerLine {
    fn to_former(&self) -> Result<FormerSecret, &'static str> {
        Ok(FormerSecret {
            digest: TokenDigest::from_hex(&self.digest).ok_or("former.digest")?,
            kind: self.kind.into(),
            expires: Timestamp::from_millis(self.expires),
        })
    }
}

impl From<&TokenRecord> for TokenLine {
    fn from(token: &TokenRecord) -> Self {
        Self {
            id: token.id.get(),
            digest: hex(token.digest.as_bytes()),
            kind: token.kind.into(),
            origin: match token.origin {
                TokenOrigin::Api => Origin::Api,
                TokenOrigin::Bootstrap => Origin::Bootstrap,
                TokenOrigin::Declared => Origin::Declared,
            },
            name: token.name.clone(),
            description: token.description.clone(),
            roles: token.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            dedicated_subject: token.dedicated_subject.clone(),
            created: token.created.as_millis(),
            updated: token.updated.as_millis(),
            expires: token.expires.map(Timestamp::as_millis),
            disabled: token.disabled.map(Timestamp::as_millis),
            former: token.former.map(|former| FormerLine {
                digest: hex(former.digest.as_bytes()),
                kind: former.kind.into(),
                expires: former.expires.as_millis(),
            }),
        }
    }
}

impl From<SecretKind> for Kind {
    fn from(kind: SecretKind) -> Self {
        match kind {
            SecretKind::Generated => Self::Generated,
            SecretKind::Chosen => Self::Chosen,
        }
    }
}

impl From<Kind> for SecretKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Generated => Self::Generated,
            Kind::Chosen => Self::Chosen,
        }
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 15)).copied();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).flatten().collect()
}

//! A token in the words of the wire contract, with what is added to them.

use crate::store::page::Listed;
use crate::store::usage::Usage;
use crate::time::Timestamp;
use crate::token::{RoleName, SecretState, TokenOrigin, TokenRecord};
use serde::Serialize;

/// A token of a list. Older clients pass over what they do not know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    id: u64,
    last_update_timestamp: i64,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<i64>,
    roles: Vec<&'a str>,
    /// By the clock that the server goes by: that of a client may be another.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedicated_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_count: Option<u64>,
}

/// All that is told of one token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description<'a> {
    #[serde(flatten)]
    entry: Entry<'a>,
    created: i64,
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    former_expiration: Option<i64>,
    fingerprint: String,
}

impl<'a> Entry<'a> {
    /// A token with its use, at this time.
    pub(super) fn of(token: &'a Listed, now: Timestamp) -> Self {
        Self::new(&token.record, token.usage.as_ref(), now)
    }

    fn new(record: &'a TokenRecord, usage: Option<&Usage>, now: Timestamp) -> Self {
        Self {
            id: record.id.get(),
            last_update_timestamp: record.updated.as_millis(),
            name: &record.name,
            description: record.description.as_deref(),
            expiration: record.expires.map(Timestamp::as_millis),
            roles: record.roles.iter().map(RoleName::as_str).collect(),
            state: SecretState::of_token(record, now).name(),
            dedicated_subject: record.dedicated_subject.as_deref(),
            disabled: record.disabled.map(Timestamp::as_millis),
            last_used: usage.map(|usage| usage.last_used.as_millis()),
            use_count: usage.map(|usage| usage.count),
        }
    }
}

impl<'a> Description<'a> {
    /// A token with its use, at this time.
    pub(super) fn of(token: &'a Listed, now: Timestamp) -> Self {
        let mut description = Self::of_record(&token.record, now);
        let used = Entry::of(token, now);
        description.entry = Entry { use_count: Some(used.use_count.unwrap_or_default()), ..used };
        description
    }

    /// A token that was changed just now. Its use is not looked up.
    pub(super) fn of_record(record: &'a TokenRecord, now: Timestamp) -> Self {
        Self {
            entry: Entry::new(record, None, now),
            created: record.created.as_millis(),
            origin: match record.origin {
                TokenOrigin::Api => "api",
                TokenOrigin::Bootstrap => "bootstrap",
                TokenOrigin::Declared => "declared",
            },
            former_expiration: former_expiration(record, now),
            fingerprint: record.digest.fingerprint(),
        }
    }
}

/// When the secret that the token had before ends, while it lives on.
pub(super) fn former_expiration(record: &TokenRecord, now: Timestamp) -> Option<i64> {
    let end = record.former?.expires;
    (end > now).then_some(end.as_millis())
}

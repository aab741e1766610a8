//! `/api/security/tokens/{id}/usage`: what a token may do, and what of that it did.

use crate::privilege::{Grant, Privilege};
use crate::store::page::Listed;
use crate::time::Timestamp;
use crate::token::RoleName;
use serde::{Deserialize, Serialize};

/// The use of a token as it is sent. Moments are milliseconds since the Unix epoch.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageReport {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used: Option<i64>,
    pub(crate) use_count: u64,
    pub(crate) privileges: Vec<PrivilegeReport>,
}

/// Something that the token has, or had.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PrivilegeReport {
    /// The name of a permission, or the routes of a rule.
    pub(crate) name: String,
    pub(crate) grant: GrantReport,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used: Option<i64>,
    pub(crate) use_count: u64,
}

/// How the token comes to it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum GrantReport {
    Permission,
    Rule,
    Everyone,
    Former,
}

impl UsageReport {
    /// What is told of a token.
    pub(crate) fn of(listed: &Listed, privileges: &[Privilege]) -> Self {
        let Listed { record, usage } = listed;
        Self {
            id: record.id.get(),
            name: record.name.clone(),
            roles: record.roles.iter().map(RoleName::to_string).collect(),
            created: record.created.as_millis(),
            last_used: usage.as_ref().map(|usage| usage.last_used.as_millis()),
            use_count: usage.as_ref().map_or(0, |usage| usage.count),
            privileges: privileges.iter().map(PrivilegeReport::of).collect(),
        }
    }
}

impl PrivilegeReport {
    fn of(privilege: &Privilege) -> Self {
        let usage = privilege.usage.as_ref();
        Self {
            name: privilege.name.clone(),
            grant: match privilege.grant {
                Grant::Permission => GrantReport::Permission,
                Grant::Rule => GrantReport::Rule,
                Grant::Everyone => GrantReport::Everyone,
                Grant::Former => GrantReport::Former,
            },
            last_used: usage.map(|usage| usage.last_used).map(Timestamp::as_millis),
            use_count: usage.map_or(0, |usage| usage.count),
        }
    }
}

//! What an audit entry tells of: each event with its name, its outcome and the token that it is about.

use crate::decision::PolicyVersion;
use crate::time::Timestamp;
use crate::token::{PrincipalId, TokenDigest, TokenId, TokenRecord};

/// What happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum AuditEvent<'a> {
    /// The program started, with these policies.
    Started {
        /// Which policies decide from now on.
        policy: PolicyVersion,
    },
    /// A token is about to be created.
    TokenCreated(&'a TokenRecord),
    /// A token is about to be changed.
    TokenUpdated {
        /// As it was.
        before: &'a TokenRecord,
        /// As it will be.
        after: &'a TokenRecord,
    },
    /// A token is about to get another secret.
    TokenRotated {
        /// With the secret that is replaced.
        before: &'a TokenRecord,
        /// With the new one.
        after: &'a TokenRecord,
    },
    /// A token is about to be disabled.
    TokenDisabled(&'a TokenRecord),
    /// A token is about to be enabled.
    TokenEnabled(&'a TokenRecord),
    /// A token is about to be deleted.
    TokenDeleted(&'a TokenRecord),
    /// Tokens are about to be exported, without their secrets.
    TokensExported {
        /// How many.
        count: u64,
    },
    /// Tokens are about to be imported. Each that changes has an entry of its own besides.
    TokensImported {
        /// How many.
        count: u64,
    },
    /// A digest is about to be spent, as that of a token that was deleted elsewhere for good.
    DigestSpent(&'a TokenDigest),
    /// A digest is not spent, though an entry told so.
    SpendFailed {
        /// The digest.
        digest: &'a TokenDigest,
        /// Why it did not happen.
        reason: &'a str,
    },
    /// A change that an entry told of did not happen.
    ChangeFailed {
        /// Which kind of change.
        change: Change,
        /// The token that it was about.
        token: &'a TokenRecord,
        /// Why it did not happen.
        reason: &'a str,
    },
    /// A change that the policies permit was asked for and is not made.
    ChangeRefused {
        /// Which kind of change.
        change: Change,
        /// The id that was asked for, if one was.
        token: Option<TokenId>,
        /// Why it is not made.
        reason: &'a str,
        /// How many refusals and denials of the same actor have no entry, since its last one.
        left_out: u64,
    },
    /// Other policies are about to decide.
    PoliciesReplaced {
        /// Which policies decided until now.
        before: PolicyVersion,
        /// Which decide from now on.
        after: PolicyVersion,
    },
    /// Policies were loaded anew, and those that decided go on deciding.
    PoliciesKept {
        /// Which policies decide.
        policy: PolicyVersion,
        /// Whether that is as it should be.
        outcome: AuditOutcome,
        /// Why.
        reason: &'a str,
    },
    /// A live token was refused a call to the program's own API.
    AdminDenied {
        /// The method of the call.
        method: &'a str,
        /// Its canonical path, without the query.
        path: &'a str,
        /// The id of the decision, as the answer names it.
        decision_id: &'a str,
        /// How many refusals and denials of the same actor have no entry, since its last one.
        left_out: u64,
    },
    /// Refusals and denials that have no entry, after the last of the same principal that has one.
    DenialsLeftOut {
        /// Whose; `None` for several, where more were denied at once than are told apart.
        principal: Option<&'a PrincipalId>,
        /// How many.
        count: u64,
        /// When the first of them was.
        since: Timestamp,
    },
    /// The log goes on in a new file, since the old one was moved away.
    LogReopened,
    /// Entries before this one could not be written, and what they tell of happened all the same.
    EntriesLost {
        /// How many.
        count: u64,
        /// When the first of them was.
        since: Timestamp,
    },
}

/// How what happened ended. A change has its entry before it is made: when it fails afterwards, a second entry
/// says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// The policies do not permit it.
    Denied,
    /// The policies permit it, and it cannot be done as it was asked for.
    Refused,
    /// It failed.
    Failed,
}

/// The kinds of change to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It is created.
    Create,
    /// Its name, description, roles or expiry change.
    Update,
    /// It gets another secret.
    Rotate,
    /// It is disabled.
    Disable,
    /// It is enabled.
    Enable,
    /// It is deleted.
    Delete,
    /// Tokens are exported.
    Export,
    /// Tokens are imported.
    Import,
    /// A digest is spent.
    Spend,
}

impl<'a> AuditEvent<'a> {
    /// What the step from one record of a token to another is, and which kind of change.
    pub fn of_update(before: &'a TokenRecord, after: &'a TokenRecord) -> (Self, Change) {
        if before.digest != after.digest {
            return (Self::TokenRotated { before, after }, Change::Rotate);
        }
        let switched = TokenRecord { disabled: after.disabled, updated: after.updated, ..before.clone() };
        match (before.disabled, after.disabled) {
            // Their entries do not show what else changes, as an import may have it.
            _ if switched != *after => (Self::TokenUpdated { before, after }, Change::Update),
            (None, Some(_)) => (Self::TokenDisabled(after), Change::Disable),
            (Some(_), None) => (Self::TokenEnabled(after), Change::Enable),
            (None, None) | (Some(_), Some(_)) => (Self::TokenUpdated { before, after }, Change::Update),
        }
    }

    /// The name of the event as the log has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::TokenCreated(_) => "token_created",
            Self::TokenUpdated { .. } => "token_updated",
            Self::TokenRotated { .. } => "token_rotated",
            Self::TokenDisabled(_) => "token_disabled",
            Self::TokenEnabled(_) => "token_enabled",
            Self::TokenDeleted(_) => "token_deleted",
            Self::TokensExported { .. } => "tokens_exported",
            Self::TokensImported { .. } => "tokens_imported",
            Self::DigestSpent(_) => "digest_spent",
            Self::ChangeFailed { .. } | Self::SpendFailed { .. } => "change_failed",
            Self::ChangeRefused { .. } => "change_refused",
            Self::PoliciesReplaced { .. } => "policies_replaced",
            Self::PoliciesKept { .. } => "policies_kept",
            Self::AdminDenied { .. } => "admin_denied",
            Self::DenialsLeftOut { .. } => "denials_left_out",
            Self::LogReopened => "log_reopened",
            Self::EntriesLost { .. } => "entries_lost",
        }
    }

    /// How it ended.
    pub const fn outcome(&self) -> AuditOutcome {
        match self {
            Self::Started { .. }
            | Self::TokenCreated(_)
            | Self::TokenUpdated { .. }
            | Self::TokenRotated { .. }
            | Self::TokenDisabled(_)
            | Self::TokenEnabled(_)
            | Self::TokenDeleted(_)
            | Self::TokensExported { .. }
            | Self::TokensImported { .. }
            | Self::DigestSpent(_)
            | Self::PoliciesReplaced { .. }
            | Self::LogReopened => AuditOutcome::Done,
            Self::AdminDenied { .. } | Self::DenialsLeftOut { .. } => AuditOutcome::Denied,
            Self::ChangeRefused { .. } => AuditOutcome::Refused,
            Self::ChangeFailed { .. } | Self::SpendFailed { .. } | Self::EntriesLost { .. } => {
                AuditOutcome::Failed
            }
            Self::PoliciesKept { outcome, .. } => *outcome,
        }
    }

    /// The token that the event is about, as it is after the event.
    pub const fn token(&self) -> Option<&TokenRecord> {
        match self {
            Self::TokenCreated(token)
            | Self::TokenDisabled(token)
            | Self::TokenEnabled(token)
            | Self::TokenDeleted(token) => Some(token),
            Self::TokenUpdated { after, .. } | Self::TokenRotated { after, .. } => Some(after),
            Self::ChangeFailed { token, .. } => Some(token),
            Self::Started { .. }
            | Self::TokensExported { .. }
            | Self::TokensImported { .. }
            | Self::DigestSpent(_)
            | Self::SpendFailed { .. }
            | Self::ChangeRefused { .. }
            | Self::PoliciesReplaced { .. }
            | Self::PoliciesKept { .. }
            | Self::AdminDenied { .. }
            | Self::DenialsLeftOut { .. }
            | Self::LogReopened
            | Self::EntriesLost { .. } => None,
        }
    }

    /// The id of the token that the event is about, whether there is such a token or not.
    pub fn token_id(&self) -> Option<TokenId> {
        match self {
            Self::ChangeRefused { token, .. } => *token,
            Self::DenialsLeftOut { principal, .. } => principal.and_then(PrincipalId::token),
            other => other.token().map(|token| token.id),
        }
    }
}

impl AuditOutcome {
    /// The name of the outcome as the log has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Change {
    /// The name of the change as the log has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Export => "export",
            Self::Import => "import",
            Self::Spend => "spend",
        }
    }
}
